"""What plugins answer and are: a class that is none of its kind, a method that cannot be called,
an answer that is no answer. One line, whose it is, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bioplaus.analysis.report import Report
from bioplaus.axes.axis import Axis
from bioplaus.axes.by_name import axis_class
from bioplaus.cli.report import rendered
from bioplaus.errors import BioplausError
from bioplaus.learning.layered_rule import LayeredRule
from bioplaus.network.layer_kind import LayerKind
from bioplaus.plugins.whole import declaration, fault
from bioplaus.records.schema import ResultSet
from bioplaus.running.logger import Logger, Loggers
from bioplaus.tasks.dataset import Dataset
from bioplaus.tasks.door import load_dataset, load_split
from bioplaus.tasks.layer_plugins import _INSTALLED
from tests.helpers.command import call
from tests.helpers.strangers import RULE, install, install_dataset
from tests.helpers.tiny import TINY

pytestmark = pytest.mark.usefixtures("forgotten")

END = "return deltas"
DELTAS = {
    "nothing": ("pass", r"`deltas` returned a NoneType, due is a list of 2 tensors, one for each"),
    "one": ("return deltas[0]", r"`deltas` returned a Tensor, due is a list of 2 tensors"),
    "too few": ("return deltas[1:]", r"`deltas` returned 1, due is a list of 2 tensors"),
    "no tensors": ("return [0.0, 0.0]", r"layer 1 one a float, due is a tensor.*\(50, 16\)"),
    "a shape": ("return [d[:, :2] for d in deltas]", r"one of shape \(50, 2\), due.*50, 16"),
    "a precision": ("return [d.double() for d in deltas]", r"of torch.float64, and the network is"),
    "numpy": ("return [d.numpy() for d in deltas]", r"stay in torch: no .numpy\(\)"),
    "item": ("deltas[0].sum().item()", r"\(line 24 of own.py\); keep numbers as tensors: no .item"),
    "branches": ("return deltas if deltas[0].sum() > 0 else None", r"no Python `if`.*torch.where"),
    "random": ("import torch; torch.rand(3)", r"line 24.*; declare the random numbers in `noise`"),
    "autograd": ("fwd.error.sum().backward()", r"no .backward\(\) inside.*torch.func.grad"),
    "in place": ("fwd.params['1.weight'].mul_(0.9); return deltas",
                 r"changes 1.weight in place inside `update`: write x = x \+ y"),
    "the batch": ("fwd.batch.x.zero_(); return deltas", r"changes x in place inside `update`"),
    "misspelt": ("return detlas", r"NameError: name 'detlas' is not defined \(line 24 of own.py\)"),
}  # fmt: skip
CLASS = {
    "no arguments": ("def deltas(self, fwd)", "def deltas(self)",
                     r"it has deltas\(self\), due is deltas\(self, fwd\)"),
    "no method": ("    def deltas", "    supports = True\n\n    def deltas",
                  r"`supports` is True, due is a method: supports\(self, net\)"),
    "quick": ('name = "mine"', 'name = "mine"\n    quick = {"gain": 1}',
              r"`quick` names gain, which is none of its options"),
    "published": ('name = "mine"', 'name = "mine"\n    published = (97.1,)',
                  r"`published` is a tuple of bioplaus.Published\(...\)"),
}  # fmt: skip


def trained(folder: Path, rule: str) -> str:
    """The last line of a run of that rule."""
    (folder / "own.py").write_text(rule)
    (folder / "tiny.toml").write_text(TINY)
    done = call("run", "--plugin", str(folder / "own.py"), "--task", str(folder / "tiny.toml"),
                "--seeds", "1", "--epochs", "1", "--results", str(folder / "results"))  # fmt: skip
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.output
    assert not list(folder.rglob("seed-*.json"))
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("case", DELTAS)
def test_what_deltas_returns_or_does_is_told_with_what_is_due(case: str, tmp_path: Path) -> None:
    instead, says = DELTAS[case]
    assert RULE.count(END) == 1
    line = trained(tmp_path, RULE.replace(END, instead))
    assert line.startswith("Error: the rule 'mine'") and re.search(says, line), line


@pytest.mark.parametrize("case", CLASS)
def test_a_rules_class_is_told_what_is_due(case: str, tmp_path: Path) -> None:
    old, new, says = CLASS[case]
    assert old in RULE
    line = trained(tmp_path, RULE.replace(old, new))
    assert re.search(says, line), line


DATA = {
    "on-meta": ("return Split(x.to('meta'), y)", r"examples are on torch's meta device"),
    "nan-labels": ("return Split(x, y / 0)", r"some are NaN or infinity: leave those examples out"),
    "without-class": ("return Split(x, y - 1)", r"from -1 to 1: number.*leave out examples"),
    "more-classes": ("return Split(x, y + 2)", r"run from 2 to 4: number.*or declare classes = 5"),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_a_datasets_examples(name: str, site: Path) -> None:
    result, says = DATA[name]
    install_dataset(site, name, result)
    with pytest.raises(BioplausError, match=says):
        load_split(load_dataset(name), "train")


def test_examples_with_a_history_are_taken_without_it(site: Path) -> None:
    install_dataset(site, "with-grad", "return Split(x.requires_grad_(), y)")
    split = load_split(load_dataset("with-grad"), "train")
    assert not split.x.requires_grad and len(split.checksum) == 64


Use = Callable[[str], object]


def logged(name: str) -> object:
    return Loggers([name], "logs")


USES: dict[str, tuple[str, str, Use]] = {
    "dataset": ("bioplaus.Dataset", "Dataset", load_dataset),
    "report": ("bioplaus.Report", "Report", lambda name: rendered(ResultSet([]), name)),
    "logger": ("bioplaus.Logger", "Logger", logged),
    "axis": ("bioplaus.axes.Axis", "axes.Axis", axis_class),
    "layer": ("bioplaus.LayerKind", "LayerKind", lambda name: _INSTALLED[name]),
}
"""Kind of plugin -> its base as people import it, the base within bioplaus, and how it is used."""
GROUPS = {kind: f"bioplaus.{kind}s" for kind in USES} | {"axis": "bioplaus.axes"}
DUE = {
    "dataset": "load(self, split)",
    "report": "render(self, results, width=None)",
    "logger": "record(self, record)",
    "axis": "measure(self, trained, report)",
    "layer": "build(self, below)",
}


def put(site: Path, kind: str, source: str) -> None:
    install(site, f"other_{kind}", f"import bioplaus\nimport bioplaus.axes\n{source}",
            f"theirs = other_{kind}:Mine", GROUPS[kind])  # fmt: skip


@pytest.mark.parametrize("kind", USES)
def test_a_class_of_another_kind(kind: str, site: Path) -> None:
    put(site, kind, "class Mine:\n    name = 'theirs'\n")
    called, _, use = USES[kind]
    says = rf"the {kind} 'theirs' from other_{kind} 1.0: derive its class from {called}$"
    with pytest.raises(BioplausError, match=says):
        use("theirs")


@pytest.mark.parametrize("kind", USES)
def test_a_class_that_lacks_what_its_kind_has(kind: str, site: Path) -> None:
    put(site, kind, f"class Mine(bioplaus.{USES[kind][1]}):\n    name = 'theirs'\n")
    with pytest.raises(BioplausError, match=rf"it lacks .*define .*{re.escape(DUE[kind])}"):
        USES[kind][2]("theirs")


@pytest.mark.parametrize("kind", USES)
def test_a_method_that_cannot_be_called_as_it_will_be(kind: str, site: Path) -> None:
    method = DUE[kind].partition("(")[0]
    where = "\n    where = ''\n    def __init__(self, folder): ..." if kind == "logger" else ""
    put(site, kind, f"class Mine(bioplaus.{USES[kind][1]}):\n    name = 'theirs'{where}\n"
        f"    def {method}(self): ...\n")  # fmt: skip
    says = rf"it has {method}\(self\), due is {re.escape(DUE[kind])}$"
    with pytest.raises(BioplausError, match=says):
        USES[kind][2]("theirs")


class Static(Dataset):
    """Its method is another kind of function, and is called alike."""

    name, shape, classes = "static", (1,), 2

    @staticmethod
    def load(split): ...  # type: ignore[override,no-untyped-def]


class More(Dataset):
    """It takes more than it is given, with a default."""

    name, shape, classes = "more", (1,), 2

    def load(self, split, root="."): ...  # type: ignore[no-untyped-def,override]


@pytest.mark.parametrize("cls", [Static, More])
def test_what_can_be_called_alike_is_right(cls: type) -> None:
    assert fault(cls, Dataset, "bioplaus.Dataset") is None


def test_bases_are_whole_but_for_what_they_leave_open() -> None:
    for base in (Dataset, Report, Logger, Axis, LayerKind, LayeredRule):
        assert "it lacks" in str(fault(base, base, base.__name__))
    assert declaration(LayeredRule, "update") == "update(self, net, params, state, batch, noise)"


@pytest.fixture(scope="module")
def measurable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one trained network."""
    folder = tmp_path_factory.mktemp("measurable")
    (folder / "tiny.toml").write_text(TINY)
    words = ["--task", str(folder / "tiny.toml"), "--results", str(folder / "results")]
    done = call("run", "--rule", "backprop", "--seeds=1", "--epochs=1", "--save-weights", *words)
    assert done.exit_code == 0, done.output
    return folder / "results"


READINGS = {
    "pass": r"`measure` returned None; return \{'name': bioplaus.axes.Reading\(number\), ...\}",
    "return {}": r"`measure` returned \{\}; return",
    "return Reading(1.0)": r"`measure` returned Reading\(value=1.0.*; return",
    "return {'a': 1.0}": r"'a' is no Reading; return",
    "return {'a': Reading('x')}": r"'a' is 'x'; return",
    "return {'a': Reading([1.0, 2.0])}": r"has 2 numbers over 'nothing'.*Reading\(tensor, over='k'",
    "raise KeyError('q')": r"failed on tiny: KeyError: 'q' \(line \d+ of other_axis.py\)",
    "return {}\n    def supports(self, experiment): return True": r"`supports` returned True; ",
}


@pytest.mark.parametrize("body", READINGS)
def test_what_an_axis_returns(
    body: str, measurable: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bioplaus.cli.measure import measure

    put(site, "axis", "from bioplaus.axes import Reading\nclass Mine(bioplaus.axes.Axis):\n    "
        f"name = 'theirs'\n    def measure(self, trained, report):\n        {body}\n")  # fmt: skip
    # the names to choose from were read when the command was imported
    monkeypatch.setattr(measure.params[0].type, "choices", ["theirs"])
    done = call("measure", "theirs", "--results", str(measurable))
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.output
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.startswith("Error: none of 1 record could be measured: backprop")
    assert "the axis 'theirs'" in line and re.search(READINGS[body], line), line
    assert not list(measurable.rglob("measured-*")) and not list(measurable.rglob("theirs*"))


@pytest.mark.parametrize("returned", ["None", "b'text'"])
def test_what_a_report_returns(returned: str, site: Path) -> None:
    put(site, "report", "class Mine(bioplaus.Report):\n    name = 'theirs'\n"
        f"    def render(self, results, width=None): return {returned}\n")  # fmt: skip
    with pytest.raises(BioplausError, match=r"`render` returned a \w+; return the report as text"):
        rendered(ResultSet([]), "theirs")
