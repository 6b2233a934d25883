"""Where trials are kept: a file that is somebody else's stays as it is, to the last byte."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bioplaus.benchmark import trial_storage
from bioplaus.benchmark.optuna_study import Study
from bioplaus.errors import RecordError
from bioplaus.learning.search_space import LogUniform
from bioplaus.records.schema import Trial

SPACE = {"optimizer.lr": LogUniform(1e-4, 1e-2)}
START = {"optimizer.lr": 1e-3}


def study(storage: Path | str, trials: int = 2) -> Study:
    return Study("0" * 64, SPACE, START, trials, storage)


def told(storage: Path | str) -> list[Trial]:
    made = study(storage)
    for number, settings in made.next_wave():
        made.tell(Trial(number=number, settings=settings, status="complete",
                        validation_accuracy=0.5, seeds=[0.5]))  # fmt: skip
    return made.trials()


def database(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as opened, opened:
        for statement in statements:
            opened.execute(statement)


def optunas(path: Path) -> None:
    told(f"sqlite:///{path}")


def somebodys(path: Path) -> None:
    database(path, "create table photos (name text)", "insert into photos values ('a')")


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "an SQLite file of Optuna's": (optunas, "not a journal of trials"),
    "an SQLite file of another program": (somebodys, "not a journal of trials"),
    "text that ends within a line": (lambda p: p.write_text("one\ntwo"), "not a journal"),
    "one line without an end": (lambda p: p.write_text("notes"), "not a journal"),
    "JSON of another kind": (lambda p: p.write_text('{"a": 1}\n{"b"'), "not a journal"),
    "bytes": (lambda p: p.write_bytes(bytes(range(256)) * 9), "not a journal"),
    "a record": (lambda p: p.write_text('{\n "card": null\n}\n'), "not a journal"),
    "a folder": (lambda p: p.mkdir(), "not a file"),
    "a pipe": (lambda p: os.mkfifo(p), "not a file"),
}


def state(path: Path) -> object:
    return (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else path.exists()


@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_that_is_no_journal_is_not_touched(tmp_path: Path, what: str) -> None:
    make, reason = FOREIGN[what]
    path = tmp_path / "trials.db"
    make(path)
    before = state(path)
    with pytest.raises(RecordError, match=reason) as caught:
        study(path)
    assert str(path) in str(caught.value) and "--storage" in str(caught.value)
    assert state(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["trials.db"], "no lock beside it either"


def test_the_prefix_that_was_forgotten_is_named(tmp_path: Path) -> None:
    optunas(tmp_path / "trials.db")
    with pytest.raises(RecordError, match="write sqlite:///"):
        study(tmp_path / "trials.db")


@pytest.mark.parametrize("url", ["sqlite:///{}", "sqlite:///file:{}?uri=true"])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (somebodys, "of another program"),
        (lambda p: p.write_text("notes\n"), "not an SQLite database"),
        (lambda p: p.write_bytes(b"\0" * 5000), "not an SQLite database"),
    ],
)
def test_a_database_of_another_program_is_not_touched(
    tmp_path: Path, url: str, make: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "photos.db"
    make(path)
    before = state(path)
    with pytest.raises(RecordError, match=reason):
        study(url.format(path))
    assert state(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["photos.db"]


def test_a_lock_that_is_somebodys_file_is_not_cut(tmp_path: Path) -> None:
    lock = tmp_path / "trials.lock"
    lock.write_text("pid 7\n")
    with pytest.raises(RecordError, match="no lock of a journal"):
        study(tmp_path / "trials")
    assert lock.read_text() == "pid 7\n"


@pytest.mark.parametrize("torn", [b"", b"{", b'{"op_code":0,"wor'])
def test_what_a_killed_process_left_of_a_journal_is_used(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "tuning.journal"
    path.write_bytes(torn)
    assert len(told(path)) == 2
    path.write_bytes(path.read_bytes() + torn)
    assert len(told(path)) == 2


def test_an_empty_database_and_ones_own_are_used(tmp_path: Path) -> None:
    database(tmp_path / "new.db")
    for _ in range(2):
        assert len(told(f"sqlite:///{tmp_path / 'new.db'}")) == 2


def test_a_locked_database_says_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trials.db"
    optunas(path)
    monkeypatch.setattr(trial_storage, "LOCK_SECONDS", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(RecordError, match="another program is writing to it; try again"):
            told(f"sqlite:///{path}")
    assert len(told(f"sqlite:///{path}")) == 2


def test_no_password_in_an_error(tmp_path: Path) -> None:
    for url in ("postgresql://me:hunter2@nowhere.invalid/db", "nosuch://me:hunter2@h/db",
                f"sqlite:///file:{tmp_path}/no/t.db?uri=true&password=hunter2"):  # fmt: skip
        with pytest.raises(RecordError) as caught:
            study(url)
        assert "hunter2" not in str(caught.value) and "***" in str(caught.value)
