"""Forged folders: what contradicts itself is refused, and what looks wrong is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import bioplaus
from bioplaus.cli import main
from bioplaus.records.store import Store
from tests.helpers.forged import Content, contents, each, first, forge, write
from tests.helpers.tiny import TINY
from tests.helpers.tunings import make_tuning

Change = Callable[[list[Content]], list[Content]]
TEST = 360
"""Examples of the digits' test split."""


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("true")
    (folder / "tiny.toml").write_text(TINY)
    settings = {"optimizer.betas": [0.8, 0.9]}
    bioplaus.run("backprop", str(folder / "tiny.toml"), 3, results=folder, settings=settings)
    return folder


def test_true_records_raise_no_doubt(true: Path) -> None:
    found = Store(true).read_all()
    assert len(found.records) == 3 and not found.damaged and not found.doubts


def put(*path: Any, value: Any) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        *most, last = path
        for name in most:
            content = content[name]
        content[last] = value

    return change


def accuracy(value: float) -> Callable[[Content], None]:
    """The result and the end of its curve."""

    def change(content: Content) -> None:
        content["test_accuracy"] = content["curves"]["test_accuracy"][-1] = value

    return change


REFUSED: dict[str, tuple[Change, str]] = {
    "an accuracy of 1.5": (first(accuracy(1.5)), "not between 0 and 1"),
    "an accuracy below 0": (first(accuracy(-0.1)), "not between 0 and 1"),
    "better than its curve": (first(put("test_accuracy", value=359 / TEST)), "its curve ends"),
    "a loss that its curve has not": (first(put("train_loss", value=1e-9)), "its curve ends"),
    "no share of the examples": (first(accuracy(0.98765)), "is no share of 360 test examples"),
    "a rule renamed": (each(put("rule", value="gaitprop")), "is of the rule 'backprop'"),
    "a longer curve": (
        first(lambda c: c["curves"]["test_accuracy"].insert(0, 0.5)), "its curves have 2 to 3"),
    "fewer epochs than configured": (
        each(put("configuration", "epochs", value=20)), "complete after 2 epochs of 20"),
    "more epochs than configured": (
        each(put("configuration", "epochs", value=1)), "complete after 2 epochs of 1"),
    "a label that lies": (
        each(put("label", value="optimizer.betas=[0.9, 0.999]")), "the label says"),
    "a quicker training": (first(put("timing", "train_seconds", value=1e-6)), "train_seconds is"),
    "a negative time": (first(put("timing", "setup_seconds", value=-1.0)), "a time is negative"),
    "a negative cost": (first(put("cost", "step_flops", value=-1)), "a cost is negative"),
    "the best seed as seed 7": (
        first(put("seed", value=7)), "seeds_together does not hold seed 7"),
    "a group of another size": (
        first(put("provenance", "seeds_together", value=[0])), "1 seeds trained together"),
    "seeds that are none": (
        first(put("provenance", "seeds_together", value=["0"])), "no list of seeds"),
    "diverged, and nowhere": (first(put("status", value="diverged")), "its status is diverged"),
    "an accuracy after divergence": (
        first(lambda c: c.update(status="diverged", diverged_epoch=1)), "after it diverged"),
    "trained on the test split": (
        each(lambda c: c["configuration"]["data"]["checksums"].update(
            test=c["configuration"]["data"]["checksums"]["train"])), "test split is its training"),
    "a validation split of another size": (
        each(put("configuration", "data", "sizes", "validation", value=100)), "to be held out"),
    "a cosine of 3": (
        first(lambda c: c["curves"]["alignment"]["loss"]["cosine.1"].__setitem__(0, 3.0)),
        "not between -1 and 1"),
    "half a configuration": (
        each(lambda c: c["configuration"].pop("optimizer")), "the configuration lacks optimizer"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_contradicts_itself_is_refused(true: Path, tmp_path: Path, what: str) -> None:
    change, reason = REFUSED[what]
    paths = forge(true, tmp_path / "forged", change)
    found = Store(tmp_path / "forged").read_all()
    assert found.damaged, what
    assert all("contradicts itself" in line and reason in line for line in found.damaged)
    assert all(line.isprintable() for line in found.damaged)
    assert len(found.records) + len(found.damaged) == len(paths)


def test_an_installed_rule_that_was_changed_is_not_averaged(true: Path, tmp_path: Path) -> None:
    def more(all_of_them: list[Content]) -> list[Content]:
        for content in all_of_them[:1]:
            content["provenance"]["rule"]["sha256"] = "f" * 64
        return all_of_them

    forge(true, tmp_path, more)
    found = Store(tmp_path).read_all()
    cells = {(r.cell, r.label): r.seed for r in found.records}
    assert len(cells) == 2 and len({cell for cell, _ in cells}) == 2
    (odd,) = [r for r in found.records if "source=ffffffff" in r.label]
    assert odd.seed == 0 and odd.key == contents(true)[0]["key"]
    assert any("2 sources of the rule" in line for line in found.doubts)


def test_a_run_that_reuses_another_release_shows_two_rows(true: Path, tmp_path: Path) -> None:
    def older(content: Content) -> None:
        content["provenance"]["rule"] |= {"sha256": "0" * 64, "source": "bioplaus 0.0.1"}

    forge(true, tmp_path / "r", first(older))
    tiny = true / "tiny.toml"
    words = ["run", "--rule", "backprop", "--task", tiny, "--set", "optimizer.betas=[0.8, 0.9]"]
    done = CliRunner().invoke(
        main, [*map(str, words), "--seeds", "3", "--results", str(tmp_path / "r")]
    )
    assert done.exit_code == 0, done.output
    assert "source=00000000" in done.stdout.replace("\n", "")
    assert "2 sources of the rule" in done.stderr


def copied(all_of_them: list[Content]) -> list[Content]:
    """The first seed as seeds 5 and 6, each as if it had trained alone."""
    made = []
    for seed in (0, 5, 6):
        copy = json.loads(json.dumps(all_of_them[0])) | {"seed": seed}
        copy["provenance"]["seeds_together"] = [seed]
        copy["timing"] |= {"group_size": 1, "train_seconds": copy["timing"]["group_train_seconds"]}
        made.append(copy)
    return made


def renamed(all_of_them: list[Content]) -> list[Content]:
    """The same records under another rule's name too."""
    twins = json.loads(json.dumps(all_of_them))
    for content in twins:
        content["rule"] = content["configuration"]["rule"] = "my-rule"
    return [*all_of_them, *twins]


def another_network(content: Content) -> None:
    content["task"] = "digits-square"
    content["label"] = ""


DOUBTED: dict[str, tuple[Change, str]] = {
    "the best seed copied": (copied, "seeds 0, 5, 6 have the same curves"),
    "the worst seeds left out": (lambda cs: cs[:1], "seeds 1, 2 trained with these"),
    "an edited card": (first(put("card", "summary", value="The best.")), "the card of seeds"),
    "an edited cost": (first(put("cost", "step_flops", value=7)), "state other costs"),
    "edited times": (
        first(lambda c: c["timing"].update(group_train_seconds=3e-6, train_seconds=1e-6)),
        "state other times"),
    "a rule under two names": (renamed, "backprop and my-rule were made by one rule"),
    "another network under a task's name": (each(another_network), "its network are not those"),
    "a label that boasts": (each(put("label", value="the best rule")), "the best rule"),
    "a label of no option": (
        each(put("label", value="optimizer.betas=[0.8, 0.9] magic=1")), "does not: magic"),
    "two labels of one cell": (first(put("label", value="")), "several labels"),
}  # fmt: skip


@pytest.mark.parametrize("what", DOUBTED)
def test_what_looks_wrong_is_named(true: Path, tmp_path: Path, what: str) -> None:
    change, reason = DOUBTED[what]
    paths = forge(true, tmp_path, change)
    found = Store(tmp_path).read_all()
    assert len(found.records) == len(paths) and not found.damaged
    assert any(reason in line for line in found.doubts), found.doubts
    done = CliRunner().invoke(main, ["report", "--results", str(tmp_path)])
    assert done.exit_code == 0 and "Warning: " in done.stderr and reason in done.stderr


def test_a_doubt_is_found_through_the_index_too(
    true: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bioplaus.records import store

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "INDEXED_FROM", 1)
    forge(true, tmp_path / "r", copied)
    write(tmp_path / "r", contents(true)[1] | {"test_accuracy": 0.0})
    for _ in range(2):
        found = Store(tmp_path / "r").read_all()
        assert len(found.records) == 3 and len(found.damaged) == 1
        assert any("same curves" in line for line in found.doubts)


def trial(number: int = 0, **changes: object) -> dict[str, object]:
    made: dict[str, object] = {"number": number, "settings": {}, "status": "complete",
                               "validation_accuracy": 0.5, "seeds": [0.5]}  # fmt: skip
    return made | changes


TUNINGS: dict[str, tuple[dict[str, object], str]] = {
    "a trial left out": ({"trials": [trial(1)]}, "1 trials were to be made"),
    "more trials than said": ({"trials": [trial(0), trial(1)]}, "and it holds 2"),
    "a score that its seeds have not": (
        {"trials": [trial(validation_accuracy=0.9)]}, "and its seeds 0.5 in the mean"),
    "an accuracy above 1": (
        {"trials": [trial(validation_accuracy=1.5, seeds=[1.5])]}, "not between 0 and 1"),
    "a seed left out": ({"trials": [trial(seeds=[])]}, "has 0 seeds of 1"),
    "not the best": (
        {"chosen": {"optimizer.lr": 1.0}}, "trial 0 is the best, and another was chosen"),
    "a default that is none": (
        {"trials": [trial(settings={"optimizer.lr": 1.0})], "chosen": {"optimizer.lr": 1.0}},
        "trial 0 is not the default"),
    "failed, with a score": ({"trials": [trial(status="failed")]}, "trial 0 is failed, with"),
}  # fmt: skip


@pytest.mark.parametrize("what", TUNINGS)
def test_a_tuning_that_contradicts_itself_is_refused(tmp_path: Path, what: str) -> None:
    changes, reason = TUNINGS[what]
    Store(tmp_path).write(make_tuning(**changes))
    found = Store(tmp_path).read_all()
    assert not found.tunings
    (line,) = found.damaged
    assert "contradicts itself" in line and reason in line
