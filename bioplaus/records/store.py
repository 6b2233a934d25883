"""A results folder: records, tunings and failures as files, read and written whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from bioplaus.errors import RecordError
from bioplaus.records.doubts import doubts, sources_apart
from bioplaus.records.index import Index, stamps_of
from bioplaus.records.reading import Item, MissingError, NewerError, OneItem, read_item
from bioplaus.records.refusals import read_refusals
from bioplaus.records.schema import FailureRecord, Measurement, Record, ResultSet, Tuning
from bioplaus.records.verification import FILE, read_verification
from bioplaus.system.atomic_files import create, write_atomically
from bioplaus.system.claims import CLAIM, Claims
from bioplaus.system.gc_pause import collection_paused
from bioplaus.system.paths import expanded

INDEXED_FROM = 1000
"""Files from which a folder is read through an index."""


class NotWritable(RecordError):
    """A results folder in which nothing can be written."""


_KINDS = ("seed-*.json", "axis-*.json")
"""Names of the files of a cell; beside them there may be a failure.json."""
_LEFT_ALONE = "it is left as it is: update bioplaus, or take another folder with --results DIR"


class Store:
    """A results folder: `TASK/RULE/CELL/seed-0003.json`, and what stands beside that."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = expanded(folder)

    @cached_property
    def claims(self) -> Claims:
        """What this process is at work on, and others are."""
        return Claims()

    def cell_claim(self, task: str, rule: str, cell: str) -> Path:
        """What to claim before that cell is trained."""
        return self.folder / task / rule / cell[:16] / CLAIM

    def tuning_claim(self, task: str, rule: str, key: str) -> Path:
        """What to claim before that tuning is made."""
        return self.folder / task / rule / f"{CLAIM}-tuning-{key[:16]}"

    def checkpoints_of_tuning(self, task: str, rule: str, key: str) -> Path:
        """A folder for the checkpoints of that tuning's trials."""
        return self.folder / task / rule / f".tuning-{key[:16]}"

    def path(self, task: str, rule: str, cell: str, seed: int) -> Path:
        """Where that record is, or would be."""
        return self.folder.joinpath(task, rule, cell[:16], f"seed-{seed:04d}.json")

    def has_records(self, task: str) -> bool:
        """Whether anything of that task may be here, seen from its folder alone."""
        return (self.folder / task).is_dir()

    def check_writable(self, option: str = "--results") -> None:
        """RecordError where a record could not be written: better before a run than after.

        option: by which the folder is chosen.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise NotWritable(
                f"cannot write to the results folder {self.folder}: {error.strerror}; "
                f"choose another with {option} DIR"
            ) from None

    def tuning_path(self, task: str, rule: str, key: str) -> Path:
        """Where that tuning is, or would be."""
        return self.folder / task / rule / f"tuning-{key[:16]}.json"

    def failure_path(self, task: str, rule: str, cell: str) -> Path:
        """Where that cell's failure is, or would be."""
        return self.folder / task / rule / cell[:16] / "failure.json"

    def place(self, item: Item) -> Path:
        """Where this belongs."""
        match item:
            case Measurement():
                beside = self.path(item.task, item.rule, item.cell, item.seed)
                return beside.with_name(f"axis-{item.axis}-{item.key[:16]}-{beside.name}")
            case Record():
                return self.path(item.task, item.rule, item.cell, item.seed)
            case Tuning():
                return self.tuning_path(item.task, item.rule, item.key)
            case FailureRecord():
                return self.failure_path(item.task, item.rule, item.cell)

    def write(self, item: OneItem, *, replace: bool = False) -> Path:
        """As `publish`; gives the path."""
        self.publish(item, replace=replace)
        return self.place(item)

    def publish(self, item: OneItem, *, replace: bool = False) -> OneItem:
        """Write it where nobody has yet; gives what stands there: this, or what was first.

        A reader, or a crash, sees the whole file or none. A damaged file is replaced, a
        failure by a later one, and with `replace` any of this bioplaus. NewerError where a
        newer one wrote what is there, RecordError where it cannot be written.
        """
        path, content = self.place(item), item.to_json().encode()
        if create(path, content):
            return item
        there = self.standing(path)
        keep = not replace and not isinstance(item, FailureRecord)
        if keep and isinstance(there, type(item)):
            return there
        write_atomically(path, content)
        return item

    def forget_measurements(self, record: Record) -> None:
        """Take out what was measured of the network that a record was of before."""
        place = self.place(record)
        for path in place.parent.glob(f"axis-*-{place.name}"):
            path.unlink(missing_ok=True)

    def standing(self, path: Path) -> Item | None:
        """What a file holds that may be replaced; None where it is damaged or not there.

        NewerError where it may not: a newer bioplaus wrote it.
        """
        try:
            return self.read(path)
        except NewerError as error:
            raise NewerError(f"{error}; {_LEFT_ALONE}") from None
        except RecordError:
            return None

    def read_all(self, rules: Sequence[str] = (), tasks: Sequence[str] = ()) -> ResultSet:
        """All there is, of some rules and tasks only where given, and what was wrong with others.

        Sorted by task, rule, label, cell and seed. Seeds of a cell that other sources of its
        rule made are cells of their own, by label and digest. A failure is left out once all
        its seeds have records. RecordError for a folder that is not there. Treat it as
        read-only: what records have in common they may share.
        """
        if not os.path.isdir(self.folder):  # where Path raises for a name that is too long
            raise RecordError(
                f"there is no results folder {self.folder}; `bioplaus run` makes one, "
                "or name another with --results DIR"
            )
        with collection_paused():
            items = self._items(self._names(rules, tasks), whole=not (rules or tasks))
            records = [i for i in items if isinstance(i, Record)]
            tunings = [i for i in items if isinstance(i, Tuning)]
            failures = [i for i in items if isinstance(i, FailureRecord)]
            measured = [i for i in items if isinstance(i, Measurement)]
            measured.sort(key=lambda m: (m.axis, m.task, m.rule, m.label, m.cell, m.seed, m.key))
            records.sort(key=lambda r: (r.task, r.rule, r.label, r.cell, r.seed))
            tunings.sort(key=lambda t: (t.task, t.rule, t.key))
            there = {(r.cell, r.seed) for r in records}
            open_ = [f for f in failures if any((f.cell, seed) not in there for seed in f.seeds)]
            shown_apart, mixed = sources_apart(records)
            found = (*mixed, *doubts(records))
        damaged = [i for i in items if isinstance(i, str)]
        open_.sort(key=lambda f: (f.task, f.rule))
        try:
            refusals = read_refusals(self.folder)
        except RecordError as error:
            damaged, refusals = [*damaged, str(error)], []
        trained = {(r.task, r.rule) for r in records}
        refusals = [
            r for r in refusals
            if (r.task, r.rule) not in trained
            and (not rules or r.rule in rules) and (not tasks or r.task in tasks)
        ]  # fmt: skip
        try:
            reproduced = read_verification(self.folder / FILE).reproduced_in(self.folder)
        except RecordError as error:
            damaged, reproduced = [*damaged, str(error)], {}
        return ResultSet(
            shown_apart,
            tunings,
            damaged,
            open_,
            found,
            tuple(measured),
            reproduced,
            tuple(refusals),
        )

    def read(self, path: Path) -> Item:
        """What a file in this folder holds; RecordError where it is damaged or out of place."""
        item = read_item(path)
        if self.place(item) != path:
            raise RecordError(f"{path}: skipped, its content belongs at {self.place(item)}")
        return item

    def _items(self, names: Sequence[str], whole: bool) -> list[Item | str]:
        """What the files hold, or what is wrong with them; through an index where there are many.

        `whole`: these are all files of the folder.
        """
        if len(names) < INDEXED_FROM:
            return [i for name in names if (i := self._read_or_reason(name)) is not None]
        index = Index(self.folder)
        stamps = stamps_of(self.folder, names)
        known = index.find(stamps)
        unread = {name: self._read_or_reason(name) for name in names if name not in known}
        rest = {name: item for name, item in unread.items() if item is not None}
        index.update(
            ((n, stamps[n], i) for n, i in rest.items() if n in stamps and isinstance(i, Record)),
            there=stamps if whole else None,
        )
        return [*known.values(), *rest.values()]

    def _read_or_reason(self, name: str) -> Item | str | None:
        """What a file holds, or what is wrong with it; None where it is gone meanwhile."""
        try:
            return self.read(self.folder / name)
        except MissingError:
            return None
        except RecordError as error:
            return str(error)

    def files(self, rules: Sequence[str] = (), tasks: Sequence[str] = ()) -> Iterator[Path]:
        """Every file of a known kind, sorted, of some rules and tasks only where given."""
        return (self.folder / name for name in self._names(rules, tasks))

    def _names(self, rules: Sequence[str], tasks: Sequence[str]) -> list[str]:
        """The same, relative to the folder: a path for each would cost more than its file."""
        found = []
        for task in _entries(self.folder, tasks):
            for rule in _entries(task.path, rules):
                for inner in _entries(rule.path):
                    place = f"{task.name}/{rule.name}/{inner.name}"
                    if fnmatchcase(inner.name, "tuning-*.json"):
                        found.append(place)
                        continue
                    for file in _entries(inner.path):
                        name = file.name
                        if name == "failure.json" or any(fnmatchcase(name, p) for p in _KINDS):
                            found.append(f"{place}/{name}")
        return sorted(found, key=lambda name: name.split("/"))


def _entries(folder: str | Path, wanted: Sequence[str] = ()) -> list[os.DirEntry[str]]:
    """What is in a folder, of some names only where given; nothing where it is none to read."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not wanted or entry.name in wanted]
    except (NotADirectoryError, PermissionError, FileNotFoundError):
        return []
