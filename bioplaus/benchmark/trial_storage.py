"""Where Optuna keeps trials: a journal or a database, and nothing that is somebody else's.

What a user names is looked at before anything opens it for writing: a file that is neither
a journal nor an Optuna database stays as it is, to the last byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bioplaus.errors import BioplausError, RecordError, shown
from bioplaus.system.atomic_files import cannot_write
from bioplaus.system.secrets import redacted

LOCK_SECONDS = 30.0
"""How long to wait for a database that another program is writing to."""
_JOURNAL_START = b'{"op_code":'
_SQLITE_START = b"SQLite format 3\0"
_TABLES = {"studies", "trials", "version_info"}
"""Of every Optuna database."""
_ANOTHER = "it is left as it is: name another with --storage"


def open_storage(where: str | os.PathLike[str]) -> Any:
    """What `optuna.create_study` takes: a database for a URL, a journal for a file.

    RecordError for a file that is something else. Whatever else goes wrong in a driver
    passes, for `blaming`.
    """
    if isinstance(where, str) and "://" in where:
        return _database(where)
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = Path(where)
    _check_journal(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _FileLock(path)
    lock.acquire()  # for the sake of the readers
    lock.release()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return JournalStorage(JournalFileBackend(str(path), lock))  # type: ignore[arg-type]


@contextlib.contextmanager
def blaming(where: str | os.PathLike[str], hint: str = "") -> Iterator[None]:
    """Whatever a storage raises, a full disk say, as a RecordError in one line, no secret in it."""
    try:
        yield
    except BioplausError:
        raise
    except Exception as error:  # a database's driver may raise anything
        if isinstance(error, OSError) and error.errno is not None:
            raise cannot_write(redacted(str(where)), error) from None
        reason = " ".join(redacted(str(error), str(where)).split()) or type(error).__name__
        if "database is locked" in reason:
            reason = "another program is writing to it"
            hint = "; try again when it is done: the same command goes on"
        name = redacted(str(where))
        raise RecordError(f"cannot use the tuning storage {name}: {reason}{hint}") from None


def _database(url: str) -> Any:
    from optuna.storages import RDBStorage

    file = _sqlite_file(url)
    if file is None:
        return url
    _check_sqlite(file)
    return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS}})


def _sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for another database, and for one in memory."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    place = rest.removeprefix("/").partition("?")[0].removeprefix("file:")
    return None if place in ("", ":memory:") else Path(place)


def _check_sqlite(path: Path) -> None:
    start = _start_of(path)
    if not start:
        return
    if not start.startswith(_SQLITE_START):
        raise RecordError(f"{shown(path)} is not an SQLite database; {_ANOTHER}")
    with contextlib.closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCK_SECONDS)
    ) as database:
        names = {row[0] for row in database.execute("select name from sqlite_master")}
    if names and not names >= _TABLES:
        raise RecordError(
            f"{shown(path)} is an SQLite database of another program, not Optuna's; {_ANOTHER}"
        )


def _check_journal(path: Path) -> None:
    """RecordError unless a journal is there, or nothing, or what a killed one left of its start."""
    lock = _lock_path(path)
    if _start_of(lock):
        raise RecordError(f"{shown(lock)} is no lock of a journal; {_ANOTHER}")
    start = _start_of(path)
    line, ended, _ = start.partition(b"\n")
    sound = _is_entry(line) if ended else _could_be(line)
    if start and not sound:
        hint = f"; for a database write sqlite:///{path}" * start.startswith(_SQLITE_START)
        raise RecordError(f"{shown(path)} is not a journal of trials; {_ANOTHER}{hint}")


def _start_of(path: Path) -> bytes:
    """The first line of a file, up to a bound; nothing where there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise RecordError(f"{shown(path)} is not a file; {_ANOTHER}")
        with path.open("rb") as file:
            return file.readline(2**16)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise RecordError(f"cannot read {shown(path)}: {error.strerror}; {_ANOTHER}") from None


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and {"op_code", "worker_id"} <= entry.keys()


def _could_be(torn: bytes) -> bool:
    """Whether a journal could begin with half a line such as this."""
    return torn.startswith(_JOURNAL_START) or _JOURNAL_START.startswith(torn)


def _lock_path(journal: Path) -> Path:
    return journal.with_name(journal.name + ".lock")


class _FileLock:
    """A lock that a killed process cannot leave behind: the operating system lets go of it.

    Whoever gets it finds whole lines: half of one, from a process that was killed or had no
    space while it wrote, would spoil the next one too.
    """

    def __init__(self, journal: Path) -> None:
        from filelock import FileLock

        self._journal = journal
        self._lock = FileLock(_lock_path(journal))

    def acquire(self) -> bool:
        self._lock.acquire()
        try:
            _drop_torn_line(self._journal)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        self._lock.release()


def _drop_torn_line(path: Path) -> None:
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
