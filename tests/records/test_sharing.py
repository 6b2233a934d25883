"""Merging folders, verifying records, and reading many of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import bioplaus
from bioplaus.cli import main
from bioplaus.errors import RecordError
from bioplaus.plugins import registry
from bioplaus.records import index as index_module
from bioplaus.records import store as store_module
from bioplaus.records.merge import merge
from bioplaus.records.rule_card import rule_card
from bioplaus.records.schema import FailureRecord, ResultSet, Trial, Tuning, TuningBudget, digest
from bioplaus.records.store import Store, read_failure, read_record, read_tuning
from bioplaus.running.verify import accuracy_tolerance, beyond_tolerance, different_bits, verify
from tests.helpers.records import make_record


def make_tuning(**changes: object) -> Tuning:
    configuration = {"rule": "backprop"}
    values: dict[str, object] = {
        "key": digest(configuration),
        "task": "toy",
        "rule": "backprop",
        "label": "",
        "budget": TuningBudget(trials=1, seeds=1, epochs=1),
        "space": {"optimizer.lr": "log-uniform from 0.1 to 1"},
        "trials": [
            Trial(number=0, settings={}, status="complete", validation_accuracy=0.5, seeds=[0.5])
        ],
        "chosen": {},
        "cell": make_record().cell,
        "configuration": configuration,
        "provenance": {},
    }
    return Tuning.model_validate(values | changes)


def make_failure(**changes: object) -> FailureRecord:
    record = make_record()
    values: dict[str, object] = {
        "cell": record.cell,
        "task": "toy",
        "rule": "backprop",
        "label": "",
        "seeds": [0, 1],
        "reason": "planted",
        "configuration": record.configuration,
        "provenance": {},
    }
    return FailureRecord.model_validate(values | changes)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_kind_is_read_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record, tuning, failure = make_record(), make_tuning(), make_failure()
    assert read_tuning(store.write(tuning)) == tuning
    assert read_failure(store.write(failure)) == failure
    store.write(record)
    assert store.read_all() == ResultSet([record], [tuning], [], [failure])
    store.write(make_record(seed=1))
    assert store.read_all().failures == [], "both seeds have succeeded since"
    assert store.read_all(rules=["other"]) == ResultSet([], [], [], [])


def test_a_merge_joins_and_names_conflicts_and_loses_nothing(tmp_path: Path) -> None:
    one, two, into = (tmp_path / name for name in ("one", "two", "into"))
    Store(one).write(make_record(seed=0))
    Store(one).write(make_tuning())
    Store(two).write(make_record(seed=0, seconds=9.0))
    Store(two).write(make_record(seed=1))
    Store(two).write(make_record(seed=2, test=0.7))
    Store(two).write(make_failure(task="other"))
    Store(into).write(make_record(seed=2, test=0.9))
    damaged = Store(two).write(make_record(seed=3))
    damaged.write_bytes(damaged.read_bytes()[:50])
    before = files(one), files(two), files(into)
    done = merge([one, two], into)
    assert (done.copied, done.same) == (4, 1)
    (conflict,) = done.conflicts
    assert "seed-0002.json is not copied" in conflict and "states other results" in conflict
    (line,) = done.damaged
    assert line.startswith(f"{damaged}: skipped, damaged")
    assert (files(one), files(two)) == before[:2], "no source is changed"
    after = files(into)
    assert all(after[name] == content for name, content in before[2].items())
    found = Store(into).read_all()
    assert [r.seed for r in found.records] == [0, 1, 2] and not found.damaged
    assert found.records[0].timing.train_seconds == 2.0, "the first one stays"
    assert merge([one, two], into).copied == 0


def test_merge_at_the_command_line(tmp_path: Path) -> None:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    one, into = tmp_path / "one", tmp_path / "into"
    Store(one).write(make_record())
    done = call("merge", str(one), "--into", str(into))
    assert (done.exit_code, done.stdout) == (0, f"1 file copied into {into}, 0 there already.\n")
    Store(into).write(make_record(test=0.1), replace=True)
    done = call("merge", str(one), "--into", str(into))
    assert done.exit_code == 1 and "Conflict: " in done.stderr and "1 conflict;" in done.stderr
    assert "there is no results folder" in call("merge", "nowhere", "--into", str(into)).stderr
    same = call("merge", str(into), "--into", str(into))
    assert same.exit_code == 1 and "is the folder to merge into" in same.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.conftest import TINY

    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(TINY)
    settings = {"optimizer.lr": 3e-3, "gaitprop.ortho": 0.05}
    bioplaus.run("gaitprop", str(folder / "tiny.toml"), 3, results=folder, settings=settings)
    return folder


def one_of(folder: Path) -> Path:
    return next(folder.rglob("seed-0001.json"))


def test_a_record_reproduces_to_the_last_bit(trained: Path) -> None:
    record = read_record(one_of(trained))
    verdict = verify(record)
    assert verdict.reproduces and verdict.exact and not verdict.reasons
    assert verdict.again.curves == record.curves and verdict.again.key == record.key


def test_alone_it_reproduces_within_the_tolerance(trained: Path) -> None:
    verdict = verify(read_record(one_of(trained)), alone=True)
    assert verdict.reproduces and not verdict.exact
    assert verdict.reasons == ["seeds_together was [0, 1, 2], is [1]"]


def test_a_record_with_another_result_does_not_reproduce(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "r")
    path = one_of(tmp_path / "r")
    content = json.loads(path.read_text())
    right = round(360 * content["test_accuracy"]) - 1
    content["test_accuracy"] = content["curves"]["test_accuracy"][-1] = right / 360
    path.write_text(json.dumps(content))
    done = CliRunner().invoke(main, ["verify", str(path)])
    assert done.exit_code == 1
    assert "test_accuracy was" in done.stdout and "does not reproduce" in done.stderr
    assert CliRunner().invoke(main, ["verify", str(one_of(trained))]).exit_code == 0


def test_verify_refuses_what_it_cannot_run(trained: Path, tmp_path: Path) -> None:
    toy = Store(tmp_path).write(make_record())
    done = CliRunner().invoke(main, ["verify", str(toy)])
    assert done.exit_code == 1 and "cannot be run" in done.stderr
    rule = registry.load("rule", "gaitprop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rule, "version", rule.version + 1)
        done = CliRunner().invoke(main, ["verify", str(one_of(trained))])
    assert done.exit_code == 1 and "the record is of version" in done.stderr
    done = CliRunner().invoke(main, ["verify", str(tmp_path / "none.json")])
    assert done.exit_code == 1 and "No such file" in done.stderr


def test_the_tolerance_is_the_binomials() -> None:
    # sqrt(2 * 0.25 / 200) = 0.05
    assert accuracy_tolerance(0.5, 200) == pytest.approx(0.2, rel=1e-12)
    assert accuracy_tolerance(1.0, 200) == 0.01, "two examples, where no spread is left"
    configuration = {"configuration": {"precision": "fp32"}}
    record = make_record(test=0.5, loss=1.0).model_copy(update=configuration)
    near = make_record(test=0.69, loss=1.0009).model_copy(update=configuration)
    far = make_record(test=0.71, loss=1.0011).model_copy(update=configuration)
    assert beyond_tolerance(record, near, 200) == []
    assert len(beyond_tolerance(record, far, 200)) == 2
    assert len(different_bits(record, near)) == 2


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A folder that is read through an index."""
    monkeypatch.setattr(store_module, "INDEXED_FROM", 1)
    monkeypatch.setattr(
        index_module, "index_path", lambda folder: tmp_path / "cache" / "index.sqlite"
    )
    store = Store(tmp_path / "results")
    card = rule_card(registry.load("rule", "backprop").configured())
    for seed in range(5):
        cosines = [[0.5, None], [0.25, 0.125]]
        store.write(make_record(seed=seed, cosines=cosines, validation=0.1 + 0.2, card=card))
    store.write(make_record(seed=5, loss=None, test=None, diverged=True))
    store.write(make_tuning())
    return store


def test_an_index_changes_nothing_but_the_time(
    many: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = many.read_all(), many.read_all()
    monkeypatch.setattr(store_module, "read_record", None)
    third = many.read_all()
    assert first == second == third
    assert [r.to_json() for r in third.records] == [r.to_json() for r in first.records]
    monkeypatch.undo()
    assert Store(many.folder).read_all() == first, "as without an index"


def test_the_files_remain_the_truth(many: Store) -> None:
    many.read_all()
    changed = many.write(make_record(seed=0, test=0.75), replace=True)
    many.path("toy", "backprop", make_record().cell, 1).unlink()
    broken = many.path("toy", "backprop", make_record().cell, 2)
    broken.write_bytes(broken.read_bytes()[:-40])
    found = many.read_all()
    assert [r.seed for r in found.records] == [0, 3, 4, 5]
    assert found.records[0].test_accuracy == 0.75, changed
    assert len(found.damaged) == 1 and str(broken) in found.damaged[0]


def test_a_damaged_index_is_made_anew(many: Store) -> None:
    before = many.read_all()
    path = index_module.index_path(many.folder)
    path.write_bytes(b"not a database" * 100)
    assert many.read_all() == before
    path.unlink()
    path.mkdir()
    assert many.read_all() == before, "without an index, where there can be none"


def test_a_card_says_what_was_measured() -> None:
    declared = {
        "backprop": ("exact", "transport"),
        "feedback-alignment": ("none", "transport"),
        "sign-symmetry": ("sign", "transport"),
        "burstccn": ("none", "no"),
        "targetprop": ("none", "local"),
    }
    for name, (way, need) in declared.items():
        card = rule_card(registry.load("rule", name).configured())
        assert card.tested == {"weight_transport": way, "needs_derivative": need}
        assert card.summary and card.citation["year"]
    relaxing = rule_card(registry.load("rule", "predictive-coding").configured())
    assert relaxing.tested == {}, "its activities relax: declared only"
    assert 0.9 < rule_card(registry.load("rule", "backprop").configured()).published[0].value < 1


HOSTILE = {
    "markup in the rule's name": {"rule": "<script>alert(1)</script>"},
    "a path in the task's name": {"task": "../../etc"},
    "a future schema": {"schema": 99},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_records_are_named_and_harmless(tmp_path: Path, what: str) -> None:
    good = make_record()
    path = Store(tmp_path).write(make_record(seed=1))
    Store(tmp_path).write(good)
    path.write_text(json.dumps(json.loads(path.read_text()) | HOSTILE[what]))
    found = Store(tmp_path).read_all()
    assert found.records == [good]
    assert len(found.damaged) == 1 and found.damaged[0].startswith(f"{path}: skipped")
    assert merge([tmp_path], tmp_path / "into").copied == 1
    with pytest.raises(RecordError):
        read_record(path)


@pytest.mark.parametrize("form", registry.names("report"))
def test_curves_of_nan_reach_every_report(tmp_path: Path, form: str) -> None:
    path = Store(tmp_path).write(make_record(cosines=[[0.5, 0.25]]))
    content = json.loads(path.read_text())
    content["curves"]["metrics"]["loss"] = [float("nan"), float("inf")]
    content["train_loss"] = float("inf")
    content["curves"]["alignment"]["loss"]["cosine.0"] = [float("nan")] * 2
    path.write_text(json.dumps(content))
    assert "NaN" in path.read_text()
    done = CliRunner().invoke(main, ["report", "--results", str(tmp_path), "--format", form])
    assert done.exit_code == 0, done.output
    assert "backprop" in done.stdout


def test_verify_leaves_the_threads_as_they_were(trained: Path) -> None:
    before = torch.get_num_threads()
    verify(read_record(one_of(trained)))
    assert torch.get_num_threads() == before
