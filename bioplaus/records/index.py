"""A disposable index of large results folders: what was read and checked once, ready to use.

It stands in the user's cache, not among the results: the records remain the truth, and a
folder from somebody else brings none. An entry counts only while its file is the one that
was read: size, times of change and inode. What is damaged is made anew. Where there can be
no index, and after deleting one, a folder takes longer to read, and that is all.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from bioplaus.records.packing import PARTS, Damaged, Packed, Unpacker, pack
from bioplaus.records.schema import Record

_TABLES = f"""
create table if not exists part (id blob primary key, content blob) without rowid;
create table if not exists record (
    path text primary key, stamp text, head blob,
    {", ".join(f"{name} blob" for name in PARTS)},
    numbers blob, checksum integer
) without rowid;
"""
_ADD = f"insert or replace into record values ({', '.join('?' * (len(PARTS) + 5))})"
_UNUSED = "delete from part where id not in (" + " union ".join(
    f"select {name} from record" for name in PARTS
) + ")"  # fmt: skip
_BATCH = 5000
_VERSION = 3
"""Of this layout of tables, and of what is checked before a record is added."""

_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT,
}  # fmt: skip
"""Errors that say nothing against the index itself."""

_T = TypeVar("_T")


class Stamp(NamedTuple):
    """What tells a file from its changed self."""

    size: int
    modified: int
    """Nanoseconds, as a program may set it."""
    changed: int
    """Nanoseconds, as only the file system sets it."""
    inode: int

    @property
    def text(self) -> str:
        """For a database: an inode may exceed its integers."""
        return " ".join(map(str, self))


def stamps_of(folder: Path, names: Iterable[str]) -> dict[str, Stamp]:
    """The stamps of files as they are, by name in the folder, without those that are gone."""
    found = {}
    for name in names:
        try:
            status = os.stat(os.path.join(folder, name))
        except OSError:
            continue
        found[name] = Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return found


class Index:
    """The records of one results folder, by path relative to it; never an error."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, stamps: Mapping[str, Stamp]) -> dict[str, Record]:
        """The records of those files that are as they were when they were added."""
        return self._with(lambda database: dict(_found(database, stamps))) or {}

    def update(
        self,
        new: Iterable[tuple[str, Stamp, Record]],
        there: Mapping[str, Stamp] | None = None,
    ) -> None:
        """Remember records that were read and checked; forget those not `there`, if given."""

        def write(database: sqlite3.Connection) -> None:
            _add(database, new)
            if there is not None:
                _forget(database, there)

        self._with(write)

    def _with(self, use: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """What `use` makes of the database; None where there is none or it is damaged."""
        try:
            path = index_path(self._folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with closing(sqlite3.connect(path, timeout=5.0)) as database:
                    database.execute("pragma synchronous = off")
                    database.executescript(_TABLES)
                    return use(database)
            except (sqlite3.Error, Damaged) as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _UNAVAILABLE:
                    path.unlink(missing_ok=True)
        except OSError:
            pass
        return None


def _found(
    database: sqlite3.Connection, stamps: Mapping[str, Stamp]
) -> Iterator[tuple[str, Record]]:
    unpack = Unpacker(dict(database.execute("select id, content from part")))
    for path, stamp, head, *parts, numbers, checksum in database.execute("select * from record"):
        wanted = stamps.get(path)
        if wanted is not None and wanted.text == stamp:
            packed = Packed(head, parts, numbers)
            if packed.checksum(path + stamp) != checksum:
                raise Damaged
            yield path, unpack(packed)


def _add(database: sqlite3.Connection, new: Iterable[tuple[str, Stamp, Record]]) -> None:
    stored: set[bytes] = set()
    while batch := list(islice(new, _BATCH)):
        rows = []
        parts: dict[bytes, bytes] = {}
        for path, stamp, record in batch:
            try:
                packed, contents = pack(record)
            except ValueError:
                continue  # content that JSON in UTF-8 cannot hold: read again each time
            checksum = packed.checksum(path + stamp.text)
            rows.append((path, stamp.text, packed.head, *packed.parts, packed.numbers, checksum))
            parts |= contents
        with database:
            missing = [item for item in parts.items() if item[0] not in stored]
            database.executemany("insert or ignore into part values (?, ?)", missing)
            database.executemany(_ADD, rows)
        stored |= parts.keys()


def _forget(database: sqlite3.Connection, there: Mapping[str, Stamp]) -> None:
    known = [row[0] for row in database.execute("select path from record")]
    gone = [(path,) for path in known if path not in there]
    if gone:
        with database:
            database.executemany("delete from record where path = ?", gone)
            database.execute(_UNUSED)


def index_path(folder: Path) -> Path:
    """Where a folder's index is; another for every layout of a record."""
    from platformdirs import user_cache_path

    layout = json.dumps(Record.model_json_schema(by_alias=True), sort_keys=True)
    text = f"{os.path.realpath(folder)}\n{_VERSION}\n{layout}"
    name = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    return user_cache_path("bioplaus") / "indexes" / f"{name[:32]}.sqlite"
