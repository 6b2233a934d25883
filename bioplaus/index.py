"""A disposable index of large results folders: what was read and checked once, ready to use.

It stands in the user's cache, not among the results: the records remain the truth, and a
folder from somebody else brings none. An entry counts only while its file has the size and
the time of change that it had. Deleting an index costs one slow read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from bioplaus.records import Curves, Record, RuleCard, Timing

_TABLE = """
create table if not exists record (
    path text primary key, size integer, changed integer,
    head blob, layout blob, numbers blob
) without rowid
"""
_BATCH = 5000


class Stamp(NamedTuple):
    """What tells a file from its changed self."""

    size: int
    changed: int
    """Nanoseconds, the file system's time."""

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Of a file as it is; OSError where there is none."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)


class Index:
    """The records of one results folder, by path relative to it."""

    def __init__(self, folder: Path) -> None:
        """Open it, or make an empty one; sqlite3.Error or OSError where that fails."""
        path = index_path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open(path)
        except sqlite3.DatabaseError:
            path.unlink(missing_ok=True)
            self._open(path)

    def _open(self, path: Path) -> None:
        self._database = sqlite3.connect(path, timeout=1.0)
        self._database.execute("pragma synchronous = off")
        self._database.execute(_TABLE)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def find(self, stamps: Mapping[str, Stamp]) -> Iterator[tuple[str, Record]]:
        """The records of those files that are as they were when they were added."""
        query = "select path, size, changed, head, layout, numbers from record"
        with closing(self._database.execute(query)) as rows:
            for path, size, changed, head, layout, numbers in rows:
                if stamps.get(path) == (size, changed):
                    yield path, _unpacked(head, layout, numbers)

    def add(self, found: Iterable[tuple[str, Stamp, Record]]) -> None:
        """Remember records that were read and checked."""
        rows = ((path, *stamp, *_packed(record)) for path, stamp, record in found)
        while batch := list(islice(rows, _BATCH)):
            with self._database:
                self._database.executemany(
                    "insert or replace into record values (?, ?, ?, ?, ?, ?)", batch
                )

    def forget(self, stamps: Mapping[str, Stamp]) -> None:
        """Drop what is not among these files any more."""
        known = [row[0] for row in self._database.execute("select path from record")]
        gone = [(path,) for path in known if path not in stamps]
        if gone:
            with self._database:
                self._database.executemany("delete from record where path = ?", gone)


def index_path(folder: Path) -> Path:
    """Where a folder's index is; another for every layout of a record."""
    from platformdirs import user_cache_path

    layout = json.dumps(Record.model_json_schema(by_alias=True), sort_keys=True)
    name = hashlib.sha256(f"{os.path.realpath(folder)}\n{layout}".encode()).hexdigest()
    return user_cache_path("bioplaus") / "indexes" / f"{name[:32]}.sqlite"


def _packed(record: Record) -> tuple[bytes, bytes, bytes]:
    """A record as JSON without its curves, where the curves are, and their numbers.

    Numbers are float64, NaN for null: a sound record holds none that is not finite.
    """
    content = record.model_dump(mode="json", by_alias=False)
    layout: list[object] = []
    numbers = array("d")

    def take(value: Any) -> object:
        if isinstance(value, dict):
            return {name: take(inner) for name, inner in value.items()}
        nulls = None in value
        layout.append([len(value), nulls])
        numbers.extend(math.nan if v is None else v for v in value)
        return len(layout) - 1

    places = take(content.pop("curves"))
    head = json.dumps(content, separators=(",", ":")).encode()
    return head, json.dumps([places, layout], separators=(",", ":")).encode(), numbers.tobytes()


def _unpacked(head: bytes, layout: bytes, numbers: bytes) -> Record:
    content = from_json(head)
    places, parts = from_json(layout)
    flat = memoryview(numbers).cast("d")
    curves: list[Any] = []
    start = 0
    for length, nulls in parts:
        curve = flat[start : start + length].tolist()
        start += length
        curves.append([None if v != v else v for v in curve] if nulls else curve)

    def put(place: Any) -> Any:
        if isinstance(place, dict):
            return {name: put(inner) for name, inner in place.items()}
        return curves[place]

    # checked when it was added: building without validation is what the index is for
    content["curves"] = Curves.model_construct(**put(places))
    content["timing"] = Timing.model_construct(**content["timing"])
    if content["card"] is not None:
        content["card"] = RuleCard.model_validate(content["card"])
    return Record.model_construct(**content)
