"""Joining results folders: what is new is copied, what conflicts is named, nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bioplaus.errors import RecordError
from bioplaus.records.reading import Item, MissingError, read_item
from bioplaus.records.refusals import add_refusals, read_refusals
from bioplaus.records.store import Store
from bioplaus.system.atomic_files import create


@dataclass
class Merged:
    """What a merge did."""

    copied: int = 0
    same: int = 0
    """Files that were there already, with the same facts."""
    conflicts: list[str] = field(default_factory=list)
    """Files of one name that state different facts: the one that was there stays."""
    damaged: list[str] = field(default_factory=list)
    """Files that cannot be read and are not copied."""


def merge(sources: Sequence[Path], into: Path) -> Merged:
    """Copy every sound record, tuning, failure and measurement of the sources, byte for byte.

    No source is changed and no file is overwritten. Two files of one name agree where their
    facts do, whatever their timing and provenance. RecordError for a folder that is not there.
    """
    target = Store(into)
    for source in sources:
        if not os.path.isdir(source):  # where Path raises for a name that is too long
            raise RecordError(f"there is no results folder {source}; `bioplaus run` makes one")
        if source.resolve() == into.resolve():
            raise RecordError(f"{source} is the folder to merge into; name the others only")
    target.check_writable("--into")
    merged = Merged()
    for source in sources:
        store = Store(source)
        for path in store.files():
            try:
                item = store.read(path)
                _add(item, path, target, merged)
            except MissingError:
                continue  # another process has removed it: a failure that was mended
            except RecordError as error:
                merged.damaged.append(str(error))
        try:
            add_refusals(target.folder, read_refusals(store.folder))
        except RecordError as error:
            merged.damaged.append(str(error))
    return merged


def _add(item: Item, path: Path, target: Store, merged: Merged) -> None:
    there = target.place(item)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingError(f"{path}: {error.strerror}") from None
    if create(there, content):
        merged.copied += 1
        return
    try:
        other = read_item(there)
    except RecordError as error:
        merged.conflicts.append(f"{path} is not copied: {error}")
        return
    if facts(item) == facts(other):
        merged.same += 1
    else:
        merged.conflicts.append(f"{path} is not copied: {there} states other results")


def facts(item: Item) -> dict[str, object]:
    """What two runs of the same thing must agree on: all but timing, provenance and card."""
    return item.model_dump(mode="json", exclude={"timing", "provenance", "card", "cost", "seconds"})
