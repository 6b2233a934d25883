"""The index of large results folders: it saves reading, and changes nothing else.

The records remain the truth: an index that is missing, damaged, out of date or impossible
costs time. How much time 50,000 records take, `python -m tests.helpers.scale` says.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from bioplaus.cli import main
from bioplaus.plugins import registry
from bioplaus.records import index as index_module
from bioplaus.records import store as store_module
from bioplaus.records.packing import Damaged, Unpacker, pack
from bioplaus.records.schema import ResultSet
from bioplaus.records.store import Store
from tests.helpers.opened import Reads, reads_heard
from tests.helpers.records import make_record
from tests.helpers.synthetic import write_all

RECORDS = 2000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 records; not to be changed."""
    folder = tmp_path_factory.mktemp("many") / "results"
    assert write_all(folder, rules=5, tasks=4, configurations=10, seeds=10) == RECORDS
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The index of every folder."""
    path = tmp_path / "cache" / "index.sqlite"
    monkeypatch.setattr(index_module, "index_path", lambda folder: path)
    return path


@pytest.fixture
def few(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Twelve records in two cells, read through an index."""
    monkeypatch.setattr(store_module, "INDEXED_FROM", 1)
    write_all(tmp_path / "results", rules=2, tasks=1, configurations=1, seeds=6)
    return Store(tmp_path / "results")


@pytest.fixture
def reads() -> Iterator[Reads]:
    """The files that are opened for what is in them, from here on."""
    with reads_heard() as heard:
        yield heard


def without_index(folder: Path) -> ResultSet:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "INDEXED_FROM", 10**9)
        return Store(folder).read_all()


def paths(store: Store) -> list[Path]:
    return list(store.files())


def test_a_large_folder_is_read_once(written: Path, cache: Path, reads: Reads) -> None:
    first = Store(written).read_all()
    assert len(reads.records()) == RECORDS and cache.exists()
    reads.clear()
    second = Store(written).read_all()
    assert reads.records() == [], "not one record is opened again"
    assert second == first == without_index(written)
    for a, b in zip(first.records[::97], second.records[::97], strict=True):
        assert a.to_json() == b.to_json()


def test_a_part_of_a_large_folder_uses_the_index_and_keeps_it(
    written: Path, cache: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(written).read_all()
    monkeypatch.setattr(store_module, "INDEXED_FROM", 1)
    reads.clear()
    part = Store(written).read_all(rules=["rule-01"], tasks=["task-2"]).records
    assert len(part) == 100 and {(r.rule, r.task) for r in part} == {("rule-01", "task-2")}
    assert len(Store(written).read_all().records) == RECORDS and reads.records() == []


@pytest.mark.parametrize("form", registry.names("report"))
def test_reports_are_the_same_with_an_index(few: Store, form: str) -> None:
    maker = registry.load("report", form)()
    few.read_all()
    assert maker.render(few.read_all()) == maker.render(without_index(few.folder))


def test_a_changed_record_is_read_again(few: Store, reads: Reads) -> None:
    few.read_all()
    path = paths(few)[3]
    content = json.loads(path.read_text())
    content["test_accuracy"] = content["curves"]["test_accuracy"][-1] = 0.125
    path.write_text(json.dumps(content))
    reads.clear()
    found = few.read_all()
    assert reads.records() == [path]
    assert [r.test_accuracy for r in found.records].count(0.125) == 1
    assert found == without_index(few.folder)
    reads.clear()
    few.read_all()
    assert reads.records() == []


def test_neither_size_nor_a_time_set_back_hides_a_change(few: Store) -> None:
    few.read_all()
    path = paths(few)[0]
    before, text = path.stat(), path.read_text()
    was = repr(json.loads(text)["test_accuracy"])
    accuracy = "0." + "1" * (len(was) - 3) + "2"  # shares of both splits
    path.write_text(text.replace(was, accuracy))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert few.read_all() == without_index(few.folder)
    assert float(accuracy) in [r.test_accuracy for r in few.read_all().records]


def rows(cache: Path) -> dict[str, int]:
    """How many each table of the index has."""
    with closing(sqlite3.connect(cache)) as database:
        names = [
            row[0] for row in database.execute("select name from sqlite_master where type='table'")
        ]
        return {n: database.execute(f"select count(*) from {n}").fetchone()[0] for n in names}


def test_a_deleted_record_is_gone_from_the_index_too(few: Store, cache: Path) -> None:
    few.read_all()
    gone = [p for p in paths(few) if "rule-00" in str(p)]
    for path in gone:
        path.unlink()
    found = few.read_all()
    assert len(found.records) == 6 and found == without_index(few.folder)
    left = rows(cache)
    cache.unlink()
    few.read_all()
    assert left == rows(cache), "as many as in an index of what is left"


def test_a_damaged_record_is_named_each_time(few: Store) -> None:
    few.read_all()
    path = paths(few)[5]
    path.write_bytes(path.read_bytes()[:-100])
    for _ in range(2):
        (line,) = few.read_all().damaged
        assert line.startswith(f"{path}: skipped, damaged")


def test_no_damage_to_the_index_reaches_a_report(few: Store, cache: Path, reads: Reads) -> None:
    truth, whole = few.read_all(), cache.read_bytes()
    rng = random.Random(0)
    harmed = 0
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 20])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        cut = rng.choice([len(content), len(content), rng.randrange(len(content))])
        cache.write_bytes(content[:cut])
        reads.clear()
        assert few.read_all() == truth
        harmed += bool(reads.records())
        few.read_all()
        reads.clear()
        assert few.read_all() == truth and reads.records() == [], "it was made anew"
    assert harmed > 10, "or else nothing was tried"


def test_another_programs_database_is_replaced(few: Store, cache: Path, reads: Reads) -> None:
    cache.parent.mkdir()
    database = sqlite3.connect(cache)
    database.execute("create table record (something text)")
    database.close()
    truth = without_index(few.folder)
    assert few.read_all() == truth == few.read_all()
    reads.clear()
    assert few.read_all() == truth and reads.records() == []


def test_where_there_can_be_no_index_all_is_read(
    few: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: Reads
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(
        index_module, "index_path", lambda folder: tmp_path / "file" / "index.sqlite"
    )
    truth = without_index(few.folder)
    for _ in range(2):
        reads.clear()
        assert few.read_all() == truth and len(reads.records()) == 12, "each file once, not twice"


def test_a_busy_index_is_left_alone(
    few: Store, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, real = few.read_all(), sqlite3.connect
    other = real(cache)
    other.execute("begin exclusive")
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: real(path, timeout=0.01))
    assert few.read_all() == truth and cache.exists()
    other.close()


def test_every_field_survives_packing() -> None:
    odd = make_record(
        test=None, loss=-0.0, cosines=[[None, 1e-320], [], [0.1 + 0.2, 1.7976931348623157e308]],
        label="\u2028 \"é\" 𝄞", provenance={"big": 10**30, "text": "\x00", "deep": [{"a": None}]},
    )  # fmt: skip
    packed, parts = pack(odd)
    made = Unpacker(parts)(packed)
    assert made == odd and made.to_json() == odd.to_json()
    with pytest.raises(ValueError):
        pack(make_record(provenance={"text": "\ud800"}))
    with pytest.raises(Damaged):
        Unpacker({})(packed)


def test_the_command_says_the_same_twice(few: Store) -> None:
    arguments = ["report", "--results", str(few.folder), "--format", "json"]
    first, second = (CliRunner().invoke(main, arguments) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert first.stdout == second.stdout and len(json.loads(first.stdout)) == 2
