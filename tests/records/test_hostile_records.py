"""Whatever a record file holds: only the documented errors, and memory within a bound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioplaus.errors import RecordError
from bioplaus.records.keys import digest
from bioplaus.records.merge import merge
from bioplaus.records.reading import MAX_BYTES, read_failure, read_item, read_record, read_tuning
from bioplaus.records.schema import FailureRecord, Trial, Tuning, TuningBudget
from bioplaus.records.store import Store
from tests.helpers.hostile import allowed, mutated, quick
from tests.helpers.records import make_record


def tuning() -> Tuning:
    trial = Trial(
        number=0, settings={"lr": 0.1}, status="complete", validation_accuracy=0.5, seeds=[0.5]
    )
    return Tuning(
        key=digest({"x": 1}), task="toy", rule="backprop", label="",
        budget=TuningBudget(trials=1, seeds=1, epochs=1), space={"lr": "0.1 to 1"},
        trials=[trial], chosen={}, cell="c", configuration={"x": 1}, provenance={},
    )  # fmt: skip


def failure() -> FailureRecord:
    return FailureRecord(
        cell=digest({"x": 1}), task="toy", rule="backprop", label="", seeds=[0], reason="no",
        configuration={"x": 1}, provenance={},
    )  # fmt: skip


READERS: dict[str, tuple[Callable[[Path], Any], bytes]] = {
    "seed-0000.json": (read_record, make_record(cosines=[[0.5, None]]).to_json().encode()),
    "tuning-0.json": (read_tuning, tuning().to_json().encode()),
    "failure.json": (read_failure, failure().to_json().encode()),
}


@pytest.mark.parametrize("name", READERS)
@quick
@given(data=st.data())
def test_a_mutated_record_is_read_or_refused(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    reader, valid = READERS[name]
    path = tmp_path / name
    path.write_bytes(data.draw(mutated(valid)))
    item = allowed(lambda: reader(path), RecordError)
    assert allowed(lambda: read_item(path), RecordError) == item
    if item is not None:  # what is taken can be written, and is then the same
        path.write_text(item.to_json())
        assert reader(path) == item


@pytest.mark.parametrize("name", READERS)
@quick
@given(content=st.binary(max_size=300))
def test_arbitrary_bytes_are_no_record(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RecordError, match="skipped"):
        READERS[name][0](path)


def test_a_pipe_or_a_device_in_place_of_a_record_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "seed-0000.json")
    (tmp_path / "seed-0001.json").symlink_to("/dev/zero")
    for name in ("seed-0000.json", "seed-0001.json"):
        with pytest.raises(RecordError, match="skipped, not a file"):
            read_record(tmp_path / name)


FACTOR = 50
MEASURE = """
import resource, sys
from pathlib import Path
from bioplaus.errors import RecordError
from bioplaus.records.reading import read_item
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
for name in sys.argv[1:]:
    path, before = Path(name), peak()
    try:
        read_item(path)
        raise SystemExit(f"{name} was read")
    except RecordError:
        print(name, (peak() - before) / path.stat().st_size)
"""


def test_memory_for_a_record_is_bounded_by_its_size(tmp_path: Path) -> None:
    """Peaks only grow: what each file adds to those before it must keep the bound."""
    size = 3 * 2**20
    base = json.loads(make_record(cosines=[[0.5]]).to_json())
    many = ",".join(f'"{i:x}":0' for i in range(size // 9))
    paths = []
    places: list[tuple[str, tuple[str, ...], str, str]] = [
        ("seed", ("curves", "test_accuracy"), "[%s0]", '"",' * (size // 3)),
        ("seed", ("curves", "alignment"), '{"loss":{%s}}', many),
        ("seed", ("curves", "metrics"), "{%s}", many),
        ("seed", (), "{%s}", many),
        ("seed", ("cost",), "{%s}", many),
        ("seed", ("configuration",), "[%s0]", "{}," * (size // 3)),
        ("seed", ("provenance",), "[%s0]", '{"":0},' * (size // 7)),
    ]
    for number, (kind, where, form, filling) in enumerate(places):
        content = json.loads(json.dumps(base))
        inner = content
        for key in where[:-1]:
            inner = inner[key]
        if where:
            inner[where[-1]] = "HERE"
        else:
            content["HERE"] = 0
        text = json.dumps(content)
        filled = form % filling
        text = (
            text.replace('"HERE": 0', filled[1:-1]) if not where else text.replace('"HERE"', filled)
        )
        paths.append(tmp_path / f"{kind}-{number:04d}.json")
        paths[-1].write_text(text)
    lists = {"trials": "[" + "0," * (size // 2) + "0]", "space": "{" + many + "}"}
    for number, (key, filled) in enumerate(lists.items()):
        text = json.dumps(json.loads(tuning().to_json()) | {key: "HERE"})
        paths.append(tmp_path / f"tuning-{number}.json")
        paths[-1].write_text(text.replace('"HERE"', filled))
    paths.append(tmp_path / "failure.json")
    text = json.dumps(json.loads(failure().to_json()) | {"seeds": "HERE"})
    paths[-1].write_text(text.replace('"HERE"', "[%s0]" % ('"",' * (size // 3))))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    factors = [float(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len(factors) == len(paths) and max(factors) < FACTOR, done.stdout


def test_a_giant_record_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "seed-0000.json"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    tracemalloc.start()
    try:
        with pytest.raises(RecordError, match="larger than"):
            read_record(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_BYTES
    finally:
        tracemalloc.stop()


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
