"""Damaged records: named, skipped and kept, whatever is in them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioplaus.errors import RecordError
from bioplaus.records.reading import read_record
from bioplaus.records.schema import Record
from bioplaus.records.store import Store
from tests.helpers.records import make_record
from tests.helpers.store import content_of

Damage = Callable[[Path], None]


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
