"""`bioplaus.run`, `bench` and `tune`: what rules, seeds and tasks may be; frames come back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch import nn

import bioplaus
from bioplaus.api.arguments import chosen_seeds
from bioplaus.errors import BioplausError, ConfigError, PluginError
from bioplaus.plugins import registry
from bioplaus.rules.backprop import Backprop
from bioplaus.rules.gaitprop import GaitProp

COLUMNS = [
    "task", "rule", "config", "seed", "status", "test_accuracy", "validation_accuracy",
    "train_loss", "epochs", "train_seconds", "cell", "key", "metric",
    "test_score", "validation_score",
]  # fmt: skip
PLUGIN = """
from bioplaus.rules.backprop import Backprop


class Mine(Backprop):
    \"\"\"Backprop under another name.\"\"\"

    name = "{name}"
"""


class Mine(Backprop):
    """Backprop under another name."""

    name = "mine-from-a-class"


@pytest.fixture(autouse=True)
def no_rules_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FROM_FILES", {})


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "my_rule.py"
    path.write_text(PLUGIN.format(name="mine-from-a-file"))
    return path


def test_a_class_trains_as_the_rule_that_it_is(tmp_path: Path) -> None:
    frame = bioplaus.run([Mine, Backprop], seeds=np.arange(2), epochs=1, results=tmp_path)
    assert list(frame.columns) == COLUMNS
    assert frame.attrs["problems"] == []
    accuracies = {rule: part["test_accuracy"].tolist() for rule, part in frame.groupby("rule")}
    assert accuracies["mine-from-a-class"] == accuracies["backprop"]
    assert sorted(frame["seed"]) == [0, 0, 1, 1]
    again = bioplaus.run(Mine, seeds=2, epochs=1, results=tmp_path)
    assert set(again["key"]) <= set(frame["key"])  # read, not trained again
    beside: list[Any] = [np.arange(2), pandas.Series([1, 0]), np.uint8(2)]
    for seeds in beside:  # the records of int seeds
        more = bioplaus.run(Mine, seeds=seeds, epochs=1, results=tmp_path)
        assert sorted(more["key"]) == sorted(again["key"]) and more.attrs["problems"] == []


def test_a_rule_brings_its_options_and_settings_override_them(tmp_path: Path) -> None:
    rule = GaitProp.configured({"ortho": 0.25})
    frame = bioplaus.run(rule, seeds=1, epochs=1, results=tmp_path)
    assert "ortho=0.25" in frame["config"].item()
    named = bioplaus.run(
        "gaitprop", seeds=1, epochs=1, results=tmp_path, settings={"gaitprop.ortho": 0.25}
    )
    assert named["key"].item() == frame["key"].item()
    other = bioplaus.run(
        rule, seeds=1, epochs=1, results=tmp_path, settings={"gaitprop.ortho": 0.5}
    )
    assert "ortho=0.5" in other["config"].item()


def test_a_plugin_file_and_a_path_of_a_task(tmp_path: Path, plugin: Path) -> None:
    task = tmp_path / "small.toml"
    task.write_text(Path("bioplaus/tasks/digits-mlp.toml").read_text())
    frame = bioplaus.run(plugin=plugin, task=task, seeds=1, epochs=1, results=tmp_path / "r")
    assert frame["rule"].tolist() == ["mine-from-a-file"]
    model = nn.Sequential(nn.Linear(8, 3))
    x, y = torch.rand(5, 8), torch.arange(5) % 3
    for attempt in (
        bioplaus.Learner(model, "mine-from-a-file", plugin=plugin),
        bioplaus.backward(model, x, y, "mine-from-a-file", plugin=str(plugin)).state,
    ):
        assert attempt.rule.name == "mine-from-a-file"
    table = bioplaus.alignment(model, x, y, "mine-from-a-file", plugin=plugin)
    assert table["cosine"].tolist() == pytest.approx([1], abs=1e-6)


def test_classes_and_objects_for_ones_own_model() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(2) for m in (nn.Linear(6, 6), nn.LeakyReLU(0.1))))
    x, y = torch.rand(5, 6), torch.arange(5)
    assert bioplaus.Learner(model, Mine).rule.name == "mine-from-a-class"
    ours = bioplaus.Learner(model, GaitProp.configured({"ortho": 0.3})).rule
    assert ours.config.ortho == 0.3  # type: ignore[attr-defined]
    changed = bioplaus.Learner(model, ours, inverse="learned").rule.config.model_dump()
    assert (changed["ortho"], changed["inverse"]) == (0.3, "learned")
    state = bioplaus.backward(model, x, y, ours).state
    assert bioplaus.backward(model, x, y, ours, state=state).state.step == 2


def test_a_class_under_a_taken_name_is_refused() -> None:
    class Clash(Backprop):
        """Under a taken name."""

    with pytest.raises(PluginError, match=r"calls its rule 'backprop', which is the name of one"):
        bioplaus.run(Clash, seeds=1)


def test_a_class_that_is_written_again_is_another_rule() -> None:
    """As in a notebook, where no file says what a class is."""
    found = []
    for gain in (1, 2, 1):
        scope: dict[str, object] = {"Backprop": Backprop, "__name__": "notebook"}
        exec(
            "class Again(Backprop):\n    name = 'again'\n"
            f"    def penalty(self, fwd):\n        return {{k: {gain} * v for k, v in ()}}\n",
            scope,
        )
        cls = scope["Again"]
        from bioplaus.plugins.from_class import named_rule

        assert named_rule(cls) == "again"  # type: ignore[arg-type]
        plugin = registry.find("rule", "again")
        assert plugin.load() is cls
        found.append(plugin.checksum)
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize(
    ("seeds", "meant"),
    [
        (3, [0, 1, 2]), (np.int64(2), [0, 1]), (np.arange(2, 4), [2, 3]), ([5, 1, 5], [1, 5]),
        (range(2), [0, 1]), (pandas.Series([4, 0]), [0, 4]), ((s for s in (7,)), [7]), ({3}, [3]),
    ],
)  # fmt: skip
def test_seeds_are_a_number_or_a_list(seeds: object, meant: list[int]) -> None:
    chosen = chosen_seeds(seeds)
    assert chosen == meant
    assert all(type(seed) is int for seed in chosen)


def test_a_script_tunes_and_runs_a_suite_without_a_guard(tmp_path: Path, plugin: Path) -> None:
    """Workers do not run the script again, and know the rules of its plugin file."""
    suite = tmp_path / "mine.toml"
    suite.write_text(
        'name = "mine"\nrules = ["mine-from-a-file"]\ntasks = ["digits-mlp"]\n'
        "seeds = 2\nepochs = 1\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "import bioplaus\n"
        "with Path('ran.txt').open('a') as file:\n    print('once', file=file)\n"
        "given = {'plugin': 'my_rule.py', 'jobs': 1, 'device': 'cpu'}\n"
        "frame = bioplaus.bench(Path('mine.toml'), **given)\n"
        "print(frame['rule'].tolist(), frame['seed'].tolist(), frame.attrs)\n"
        "trials = bioplaus.tune('mine-from-a-file', trials=2, epochs=1, **given)\n"
        "print(trials['number'].tolist(), int(trials['chosen'].sum()))\n"
        "print(sorted(trials.attrs['settings']) in ([], ['optimizer.lr']))\n"
    )
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "['mine-from-a-file', 'mine-from-a-file'] [0, 1] {'problems': [], 'notes': []}"
    )
    assert lines[1:] == ["[0, 1] 1", "True"]
    assert (tmp_path / "ran.txt").read_text() == "once\n"


def test_workers_need_rules_that_they_can_import() -> None:
    with pytest.raises(ConfigError, match=r"known in this process alone.*give plugin="):
        bioplaus.tune(Mine, trials=1)


class Raises(Backprop):
    """It fails in its first step."""

    name = "raises"

    def deltas(self, fwd: Any) -> Any:
        raise ValueError("boo")


def test_where_nothing_comes_of_it_the_reason_is_raised(tiny: Path, tmp_path: Path) -> None:
    """An empty frame would not say why; with another rule's rows it is in their frame."""
    with pytest.raises(BioplausError, match=r"^the rule 'raises' failed on tiny: .*boo .*\)$"):
        bioplaus.run(Raises, tiny, seeds=1, epochs=1, results=tmp_path / "r")
    frame = bioplaus.run([Raises, "backprop"], tiny, seeds=1, epochs=1, results=tmp_path / "r")
    assert list(frame["rule"]) == ["backprop"]
    (problem,) = frame.attrs["problems"]
    assert "boo" in problem
