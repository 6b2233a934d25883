"""The store: what is written is whole, what is damaged is named, and nothing is deleted."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bioplaus.errors import RecordError
from bioplaus.records import store as module
from bioplaus.records.schema import Record, ResultSet, digest, seed_key
from bioplaus.records.store import Store, read_record
from tests.helpers.records import make_record

Damage = Callable[[Path], None]
BAD_NAMES = ["../x", "a/b", "..", ".hidden", "", "a\n", "a\\b", "a\0", "-x", "a b", "x" * 81]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def content_of(store: Store) -> tuple[list[Record], list[str]]:
    found = store.read_all()
    return list(found.records), list(found.damaged)


def test_what_is_written_is_read_again(store: Store) -> None:
    record = make_record(
        seed=3, label="lr=0.1", test=0.1 + 0.2, validation=0.5, cosines=[[0.5, None]]
    )
    path = store.write(record)
    assert path == store.folder / "toy" / "backprop" / record.cell[:16] / "seed-0003.json"
    assert read_record(path) == record
    assert store.read_all() == ResultSet([record], [], [], [])
    assert [p.name for p in path.parent.iterdir()] == ["seed-0003.json"]


def test_the_file_is_standard_json_and_the_same_each_time(store: Store) -> None:
    record = make_record()
    text = store.write(record).read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert content["schema"] == 1
    assert list(content) == sorted(content)
    assert store.write(record).read_text() == text


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


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def content(value: bytes) -> Damage:
    def damage(path: Path) -> None:
        path.write_bytes(value)

    return damage


def field(name: str, value: Any) -> Damage:
    def damage(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))

    return damage


def seconds(value: float) -> Damage:
    def damage(path: Path) -> None:
        record = json.loads(path.read_text())
        field("timing", record["timing"] | {"train_seconds": value})(path)

    return damage


DAMAGE: dict[str, tuple[Damage, str]] = {
    "half a file": (halve, "not JSON"),
    "empty": (content(b""), "not JSON"),
    "text": (content(b"loss went down"), "not JSON"),
    "bytes": (content(b"\xff\xfe\x00\xd8"), "not JSON"),
    "deep": (content(b"[" * 200_000), "not JSON"),
    "a list": (content(b"[]"), "damaged"),
    "wrong key": (field("key", "0" * 64), "key does not match"),
    "wrong cell": (field("cell", "0" * 64), "key does not match"),
    "edited configuration": (field("configuration", {"lr": 1}), "key does not match"),
    "NaN configuration": (field("configuration", {"lr": math.nan}), "configuration"),
    "another seed": (field("seed", 8), "key does not match"),
    "accuracy as text": (field("test_accuracy", "0.9"), "test_accuracy"),
    "accuracy as NaN text": (field("test_accuracy", "nan"), "test_accuracy"),
    "accuracy as list": (field("test_accuracy", [0.9]), "test_accuracy"),
    "accuracy as truth": (field("test_accuracy", True), "test_accuracy"),
    "infinite seconds": (seconds(math.inf), "timing.train_seconds"),
    "unknown field": (field("colour", "red"), "colour"),
    "unknown status": (field("status", "fine"), "status"),
    "name of another folder": (field("task", "../x"), "task"),
    "future schema": (field("schema", 2), "newer bioplaus"),
    "no schema": (field("schema", None), "schema"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_skipped_and_stays(store: Store, name: str) -> None:
    damage, reason = DAMAGE[name]
    good = make_record(seed=0)
    store.write(good)
    path = store.write(make_record(seed=1))
    damage(path)
    before = path.read_bytes()
    found, damaged = content_of(store)
    assert found == [good]
    assert len(damaged) == 1
    assert damaged[0].startswith(f"{path}: skipped") and reason in damaged[0]
    assert "\n" not in damaged[0]
    assert path.read_bytes() == before


@pytest.mark.parametrize("depth", [100, 300, 900, 950, 980, 990])
def test_deep_nesting_that_may_still_parse_is_no_crash(store: Store, depth: int) -> None:
    path = store.write(make_record())
    field("configuration", {"x": "HERE"})(path)
    path.write_text(path.read_text().replace('"HERE"', "[" * depth + "]" * depth))
    found, damaged = content_of(store)
    assert found == [] and len(damaged) == 1


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


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("part", ["task", "rule"])
def test_names_cannot_leave_their_folder(part: str, name: str) -> None:
    with pytest.raises(ValidationError):
        make_record(**{part: name})


def test_digest_is_canonical() -> None:
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest({"lr": 0.1}) == digest(json.loads('{"lr": 0.1}'))
    assert digest({"lr": 0.1}) == digest({"lr": 0.10000000000000001})
    assert digest({"lr": 0.1}) != digest({"lr": 0.1 + 2**-56})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})
    # printf '{"a":0.1,"b":[1,null]}' | sha256sum
    sha = "99c2505ae8eb72b771949758f938c727cf72ff32be52cf9c9ad18d37882eddf5"
    assert digest({"b": [1, None], "a": 0.1}) == sha
    with pytest.raises(ValueError):
        digest({"lr": math.nan})


def test_the_key_is_of_cell_and_seed() -> None:
    first, second = make_record(seed=0), make_record(seed=1)
    assert first.cell == second.cell
    assert first.key != second.key
    assert first.key == seed_key(first.cell, 0)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_record_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "seed-0000.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"seed-0000\.json: skipped"):
        read_record(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
FIELDS = [field.alias or name for name, field in Record.model_fields.items()]


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(FIELDS), value=JSON)
def test_any_edit_is_a_record_or_a_record_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "seed-0000.json"
    path.write_text(json.dumps(json.loads(make_record().to_json()) | {name: value}))
    try:
        record = read_record(path)
    except RecordError as error:
        assert str(error).startswith(f"{path}: skipped")
    else:
        assert record.key == make_record().key
