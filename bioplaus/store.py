"""A results folder: records, tunings and failures as files, read and written whole."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from bioplaus.errors import RecordError
from bioplaus.index import Index, Stamp
from bioplaus.records import SCHEMA, Failure, Record, ResultSet, Tuning, digest, seed_key

MAX_BYTES = 64 * 2**20
INDEXED_FROM = 1000
"""Files from which a folder is read through an index."""


class Store:
    """A results folder: `TASK/RULE/CELL/seed-0003.json`, and what stands beside that."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def path(self, task: str, rule: str, cell: str, seed: int) -> Path:
        """Where that record is, or would be."""
        return self.folder / task / rule / cell[:16] / f"seed-{seed:04d}.json"

    def check_writable(self) -> None:
        """RecordError where a record could not be written: better before a run than after."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise RecordError(
                f"cannot write to the results folder {self.folder}: {error.strerror}; "
                "choose another with --results DIR"
            ) from None

    def tuning_path(self, task: str, rule: str, key: str) -> Path:
        """Where that tuning is, or would be."""
        return self.folder / task / rule / f"tuning-{key[:16]}.json"

    def failure_path(self, task: str, rule: str, cell: str) -> Path:
        """Where that cell's failure is, or would be."""
        return self.folder / task / rule / cell[:16] / "failure.json"

    def place(self, item: Record | Tuning | Failure) -> Path:
        """Where this belongs."""
        match item:
            case Record():
                return self.path(item.task, item.rule, item.cell, item.seed)
            case Tuning():
                return self.tuning_path(item.task, item.rule, item.key)
            case Failure():
                return self.failure_path(item.task, item.rule, item.cell)

    def write(self, item: Record | Tuning | Failure) -> Path:
        """Write atomically: a reader, or a crash, sees the whole file or none."""
        path = self.place(item)
        write_atomically(path, item.to_json().encode())
        return path

    def read_all(self, rules: Sequence[str] = (), tasks: Sequence[str] = ()) -> ResultSet:
        """All there is, of some rules and tasks only where given, and what was wrong with others.

        Sorted by task, rule, label, cell and seed. A failure is left out once all its seeds
        have records. RecordError for a folder that is not there.
        """
        if not self.folder.is_dir():
            raise RecordError(
                f"there is no results folder {self.folder}; `bioplaus run` makes one, "
                "or name another with --results DIR"
            )
        records: list[Record] = []
        tunings: list[Tuning] = []
        failures: list[Failure] = []
        damaged = []
        for item in self._items(list(self.files(rules, tasks)), whole=not (rules or tasks)):
            match item:
                case str():
                    damaged.append(item)
                case Record():
                    records.append(item)
                case Tuning():
                    tunings.append(item)
                case Failure():
                    failures.append(item)
        records.sort(key=lambda r: (r.task, r.rule, r.label, r.cell, r.seed))
        tunings.sort(key=lambda t: (t.task, t.rule, t.key))
        there = {(r.cell, r.seed) for r in records}
        open_ = [f for f in failures if any((f.cell, seed) not in there for seed in f.seeds)]
        return ResultSet(records, tunings, damaged, sorted(open_, key=lambda f: (f.task, f.rule)))

    def read(self, path: Path) -> Record | Tuning | Failure:
        """What a file in this folder holds; RecordError where it is damaged or out of place."""
        item = read_item(path)
        if self.place(item) != path:
            raise RecordError(f"{path}: skipped, its content belongs at {self.place(item)}")
        return item

    def _items(self, paths: list[Path], whole: bool) -> Iterator[Record | Tuning | Failure | str]:
        """What the files hold, or what is wrong with them; through an index where there are many.

        `whole`: these are all files of the folder.
        """
        if len(paths) >= INDEXED_FROM:
            try:
                yield from self._indexed(paths, whole)
                return
            except (sqlite3.Error, OSError):
                pass  # an index is a convenience: without it, this only takes longer
        for path in paths:
            yield self._read_or_reason(path)

    def _read_or_reason(self, path: Path) -> Record | Tuning | Failure | str:
        try:
            return self.read(path)
        except RecordError as error:
            return str(error)

    def _indexed(self, paths: list[Path], whole: bool) -> Sequence[Record | Tuning | Failure | str]:
        """The same with what is in the index taken from there, and the rest added to it."""
        names = {str(path.relative_to(self.folder)): path for path in paths}
        stamps = {name: Stamp.of(path) for name, path in names.items()}
        with Index(self.folder) as index, _no_collection():
            known = dict(index.find(stamps))
            rest = {
                name: self._read_or_reason(path)
                for name, path in names.items()
                if name not in known
            }
            index.add(
                (name, stamps[name], item)
                for name, item in rest.items()
                if isinstance(item, Record)
            )
            if whole:
                index.forget(stamps)
        return [*known.values(), *rest.values()]

    def files(self, rules: Sequence[str] = (), tasks: Sequence[str] = ()) -> Iterator[Path]:
        """Every file of a known kind, sorted, of some rules and tasks only where given."""
        patterns = ("*/*/*/seed-*.json", "*/*/*/failure.json", "*/*/tuning-*.json")
        for path in sorted(path for pattern in patterns for path in self.folder.glob(pattern)):
            task, rule = path.relative_to(self.folder).parts[:2]
            if (not rules or rule in rules) and (not tasks or task in tasks):
                yield path


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Millions of new numbers would set off Python's search for garbage again and again."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def read_item(path: Path) -> Record | Tuning | Failure:
    """What a file of a results folder holds, its kind by its name."""
    if path.name.startswith("tuning-"):
        return read_tuning(path)
    return read_failure(path) if path.name == "failure.json" else read_record(path)


def read_record(path: Path) -> Record:
    """The record in a file; RecordError naming the file and what is wrong with it."""
    record = _read(path, Record)
    cell = _digest(path, record)
    if record.cell != cell or record.key != seed_key(cell, record.seed):
        raise RecordError(f"{path}: skipped, damaged (the key does not match the configuration)")
    return record


def read_tuning(path: Path) -> Tuning:
    """The tuning in a file; RecordError as for a record."""
    tuning = _read(path, Tuning)
    if tuning.key != _digest(path, tuning):
        raise RecordError(f"{path}: skipped, damaged (the key does not match the configuration)")
    return tuning


def read_failure(path: Path) -> Failure:
    """The failure in a file; RecordError as for a record."""
    failure = _read(path, Failure)
    if failure.cell != _digest(path, failure):
        raise RecordError(f"{path}: skipped, damaged (the cell does not match the configuration)")
    return failure


_M = TypeVar("_M", bound=BaseModel)


def _read(path: Path, model: type[_M]) -> _M:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(f"{path}: skipped, larger than {MAX_BYTES} bytes")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: skipped, {error.strerror}") from None
    except (ValueError, RecursionError):
        raise RecordError(f"{path}: skipped, damaged (not JSON)") from None
    version = content.get("schema") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA:
        raise RecordError(
            f"{path}: skipped, written by a newer bioplaus (schema {version}, this reads {SCHEMA})"
        )
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "record"
        raise RecordError(f"{path}: skipped, damaged ({where}: {first['msg']})") from None


def _digest(path: Path, item: Record | Tuning | Failure) -> str:
    try:
        return digest(item.configuration)
    except (ValueError, RecursionError):
        raise RecordError(f"{path}: skipped, damaged (configuration: not canonical JSON)") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, flush to disk, rename; RecordError where that fails."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
