"""The store: what is written is whole, what is damaged is named, and nothing is deleted."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from pathlib import Path

import pytest

from bioplaus.errors import RecordError
from bioplaus.records import reading as module
from bioplaus.records import store as store_module
from bioplaus.records.merge import merge
from bioplaus.records.reading import read_failure, read_record, read_tuning
from bioplaus.records.schema import ResultSet
from bioplaus.records.store import Store
from tests.helpers.records import make_record
from tests.helpers.store import content_of
from tests.helpers.tunings import make_failure, make_tuning


def test_the_first_writer_wins_and_damage_is_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = make_record(test=0.25), make_record(test=0.75)
    assert store.publish(first) == first
    assert store.publish(second) == first, "the caller uses the one that was first"
    path = store.place(first)
    path.write_bytes(path.read_bytes()[:99])
    assert store.publish(second) == second and store.read(path) == second
    assert store.publish(first, replace=True) == first and store.read(path) == first
    assert os.listdir(path.parent) == [path.name]


def test_files_that_go_while_a_folder_is_read_are_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a failure does when its cell succeeds, between the listing and the reading."""
    store = Store(tmp_path / "r")
    kept, gone = store.write(make_record(seed=0)), store.write(make_record(seed=1))
    real = store_module.read_item

    def read_item(path: Path) -> object:
        gone.unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr(store_module, "read_item", read_item)
    (tmp_path / "r" / "toy" / "backprop" / ".claim-tuning-x-0001").touch()
    (kept.parent / ".writing-x").touch()
    found = store.read_all()
    assert [r.seed for r in found.records] == [0] and not found.damaged
    gone.parent.joinpath("seed-0002.json").symlink_to("nowhere")
    done = merge([tmp_path / "r"], tmp_path / "into")
    assert (done.copied, done.damaged, done.conflicts) == (1, [], [])


def test_what_is_written_is_read_again(store: Store) -> None:
    record = make_record(
        seed=3, label="lr=0.1", test=0.1 + 0.2, validation=0.5, cosines=[[0.5, None]]
    )
    path = store.write(record)
    assert path == store.folder / "toy" / "backprop" / record.cell[:16] / "seed-0003.json"
    assert read_record(path) == record
    assert store.read_all() == ResultSet([record], [], [], [])
    assert [p.name for p in path.parent.iterdir()] == ["seed-0003.json"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_become_null(store: Store, value: float) -> None:
    record = make_record(test=value, validation=value, loss=value, cosines=[[0.5, value]])
    assert record.test_accuracy is None
    content = json.loads(store.write(record).read_text())
    assert content["test_accuracy"] is None and content["train_loss"] is None
    assert content["curves"]["metrics"]["loss"] == [None, None]
    assert content["curves"]["alignment"]["loss"]["cosine.0"] == [0.5, None]
    assert store.read_all() == ResultSet([record], [], [], [])


def test_records_are_sorted_and_filtered(store: Store) -> None:
    made = [
        make_record(task=task, rule=rule, seed=seed)
        for task in ("t1", "t2")
        for rule in ("r1", "r2")
        for seed in (0, 2, 10_000)
    ]
    for record in reversed(made):
        store.write(record)
    assert store.read_all() == ResultSet(made, [], [], [])
    some = store.read_all(rules=["r2"], tasks=["t1"]).records
    assert [(r.task, r.rule, r.seed) for r in some] == [("t1", "r2", s) for s in (0, 2, 10_000)]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_record(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    old = make_record(loss=1.0)
    path = store.write(old)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(RecordError, match="No space left") as caught:
        store.write(make_record(loss=2.0), replace=True)
    assert str(path) in str(caught.value)
    assert list(path.parent.iterdir()) == [path]
    assert read_record(path) == old


def test_an_interrupted_write_leaves_no_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.write(make_record())
    assert not [p for p in store.folder.rglob("*") if p.is_file()]


def test_a_moved_record_is_skipped(store: Store) -> None:
    record = make_record()
    path = store.write(record)
    moved = [
        store.path("other-task", record.rule, record.cell, record.seed),
        store.path(record.task, "other-rule", record.cell, record.seed),
        store.path(record.task, record.rule, "0" * 64, record.seed),
        store.path(record.task, record.rule, record.cell, 1),
    ]
    for target in moved:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    found, damaged = content_of(store)
    assert found == [record]
    assert len(damaged) == len(moved)
    for target in moved:
        (line,) = [line for line in damaged if line.startswith(f"{target}: ")]
        assert f"belongs at {path}" in line
        assert target.exists()


def test_a_folder_or_a_giant_in_place_of_a_record(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.write(make_record(seed=0))
    path.with_name("seed-0001.json").mkdir()
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    found, damaged = content_of(store)
    assert found == []
    assert "larger than 10 bytes" in damaged[0]
    assert "seed-0001.json: skipped" in damaged[1]


def test_unwritable_folder(tmp_path: Path) -> None:
    file = tmp_path / "results"
    file.write_text("not a folder")
    for folder in (file, file / "below"):
        with pytest.raises(RecordError, match="cannot write"):
            Store(folder).check_writable()
        with pytest.raises(RecordError, match="cannot write"):
            Store(folder).write(make_record())
        with pytest.raises(RecordError, match="no results folder"):
            Store(folder).read_all()
    assert file.read_text() == "not a folder"


def test_check_writable_makes_the_folder_and_leaves_it_empty(store: Store) -> None:
    with pytest.raises(RecordError, match="no results folder"):
        store.read_all()
    store.check_writable()
    assert list(store.folder.iterdir()) == []
    assert store.read_all() == ResultSet([], [], [], [])


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
