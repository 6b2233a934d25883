"""What a rule may answer wrongly where it is asked: one line with its name and what is due."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioplaus.api.arguments import chosen_rules
from bioplaus.errors import ConfigError
from bioplaus.plugins import registry
from bioplaus.plugins.rules import rule_class
from bioplaus.testing import NETWORKS, Failure, check_layer
from bioplaus.testing.cases import Case
from bioplaus.testing.reach import reach
from tests.helpers.command import call
from tests.helpers.faulty_rules import Honest
from tests.helpers.strangers import RULE

ASKED = {
    "rests: a list": ("rests(self, net, step): return ['1']", r"`rests` returned \['1'\]; return"),
    "rests: no step": (
        "rests(self, net): return None", r"it has rests\(self, net\), due is rests\("),
    "rests: it raises": ("rests(self, net, step): return 1 / 0", r"ZeroDivisionError.*mine.py"),
    "rests: layer 0": (
        "rests(self, net, step): return b.Resting(frozenset({'0'}))",
        r"`rests` names 0, which is none of its params: 1.weight"),
    "rests: nothing at all": (
        "rests(self, net, step): return b.Resting(None)", r"`rests` gives None as params; return"),
    "rests: aux that is not there": (
        "rests(self, net, step): return b.Resting(aux=frozenset({'head.1'}))",
        r"`rests` names head.1, which is none of its aux: there are none"),
    "noise: a number for a shape": (
        "noise(self, net, n): return {'a': b.NoiseSpec(3)}",
        r"`noise` says a is .*shape=3.*return"),
    "noise: another kind": (
        "noise(self, net, n): return {'a': b.NoiseSpec((3,), 'gauss')}",
        r"`noise` says a .*'uniform'"),
    "noise: drawn already": (
        "noise(self, net, n): return {'a': __import__('torch').ones(2)}",
        r"`noise` says a is tensor.*NoiseSpec"),
    "state: a dict": (
        "init_state(self, net, params, stream): return {}", r"`init_state` returned {}"),
    "state: an array": (
        "init_state(self, net, params, stream): return b.State({}, {'m': np.ones(2)})",
        r"`init_state` has a ndarray as m; return bioplaus.State"),
    "variant: nothing": ("variant(self, step): pass", r"`variant` returned None; return self"),
    "adapted: nothing": ("adapted(self, metrics): pass", r"`adapted`.* returned None; return self"),
}  # fmt: skip
SAID = {
    "stackable": ('["gain"]', r"`stackable` names gain, which is none of its options"),
    "needs": ('"labels"', r"`needs` is 'labels', due is one of error, targets"),
    "refresh_every": ("0.5", r"`refresh_every` is 0.5, due is a number of steps, or None"),
}


def last_line(source: str, tmp_path: Path, *words: str) -> str:
    (tmp_path / "mine.py").write_text("import bioplaus as b\nimport numpy as np\n" + source)
    of = ["--plugin", str(tmp_path / "mine.py"), "--rule", "mine", "--task", "digits-mlp"]
    done = call(*words, *of, "--epochs", "2", "--results", str(tmp_path / "r"))
    assert done.exit_code == 1 and "Traceback" not in done.output
    line = done.stderr.strip().splitlines()[-1]
    assert "'mine'" in line or "a rule" in line
    return line


@pytest.mark.parametrize("case", ASKED)
@pytest.mark.usefixtures("forgotten")
def test_a_wrong_answer_is_one_line(case: str, tmp_path: Path) -> None:
    method, says = ASKED[case]
    line = last_line(f"{RULE}\n    def {method}\n", tmp_path, "run", "--seeds", "1")
    assert re.search(says, line), line


@pytest.mark.parametrize("field", SAID)
@pytest.mark.usefixtures("forgotten")
def test_a_wrong_word_of_itself_is_one_line(field: str, tmp_path: Path) -> None:
    value, says = SAID[field]
    source = RULE.replace('name = "mine"', f'name = "mine"\n    {field} = {value}')
    assert re.search(says, last_line(source, tmp_path, "run", "--seeds", "1"))


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ("'optimizer.lr'", r"`search_space` returned 'optimizer.lr'; return {"),
        ("{'optimizer.lr': (1e-4, 1e-2)}", r"`search_space` has optimizer.lr as \(0.0001.*Around"),
    ],
)
@pytest.mark.usefixtures("forgotten")
def test_a_search_space_of_no_ranges(space: str, says: str, tmp_path: Path) -> None:
    source = f"{RULE}\n    search_space = property(lambda self: {space})\n"
    assert re.search(says, last_line(source, tmp_path, "tune", "--trials", "2"))


def test_settings_from_python_are_by_name() -> None:
    nested = {"optimizer": {"lr": np.float32(0.5)}, "task": {"pruning": {"sparsity": 0.5}}}
    settings = chosen_rules("backprop", nested, None).settings
    assert settings == {"optimizer.lr": 0.5, "task.pruning": {"sparsity": 0.5}}
    with pytest.raises(ConfigError, match=r"settings are by name, as in 'optimizer.lr', not 1"):
        chosen_rules("backprop", {1: 2}, None)  # type: ignore[dict-item]


def test_a_rule_that_always_rests_is_told_so() -> None:
    class Asleep(Honest):
        name = "asleep"

        def rests(self, net: Any, step: int) -> Any:
            from bioplaus import Resting

            return Resting(params=frozenset(str(l + 1) for l in range(net.depth)))

    net = NETWORKS["rectangular"]
    with pytest.raises(Failure, match="all parameters rest in each of the first 64 steps"):
        reach.on(Case(Asleep, "rectangular", net, {}, None))
    with pytest.raises(Failure, match=r"'dense' is no bioplaus.network.layer.Layer"):
        check_layer("dense")  # type: ignore[arg-type]


def test_every_rule_there_is_says_right_words_of_itself() -> None:
    """Of some, `refresh_every` is a property: it depends on their options."""
    names = registry.names("rule")
    assert {rule_class(name).name for name in names} == set(names)
