"""Results folders as a cheat would send them: true records, and what was done to them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bioplaus.records.keys import digest, seed_key
from bioplaus.records.store import Store

Content = dict[str, Any]


def contents(folder: Path) -> list[Content]:
    """What the record files of a folder hold, sorted by path."""
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("seed-*.json"))]


def write(folder: Path, content: Content) -> Path:
    """A file where the store expects it, with the keys that its configuration has."""
    cell = digest(content["configuration"])
    content = content | {"cell": cell, "key": seed_key(cell, content["seed"])}
    path = Store(folder).path(content["task"], content["rule"], cell, content["seed"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def forge(true: Path, folder: Path, change: Callable[[list[Content]], list[Content]]) -> list[Path]:
    """Write the records of a folder into another, changed; their paths."""
    return [write(folder, content) for content in change(copy.deepcopy(contents(true)))]


def each(change: Callable[[Content], object]) -> Callable[[list[Content]], list[Content]]:
    """A change of every record in place."""

    def changed(all_of_them: list[Content]) -> list[Content]:
        for content in all_of_them:
            change(content)
        return all_of_them

    return changed


def first(change: Callable[[Content], object]) -> Callable[[list[Content]], list[Content]]:
    """A change of the first record in place."""

    def changed(all_of_them: list[Content]) -> list[Content]:
        change(all_of_them[0])
        return all_of_them

    return changed
