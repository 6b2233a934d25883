"""What configurations differ in, in words: so that two of them are told apart by what they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MOST = 3
"""Differences that are named; of more, their number."""


def differing(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each, the values of what is not the same in all of them; "" where nothing differs.

    >>> differing([{"task": {"units": 8}, "epochs": 1}, {"task": {"units": 9}, "epochs": 1}])
    ['task.units=8', 'task.units=9']
    """
    flat = [dict(_leaves(c, "")) for c in configurations]
    paths = list(dict.fromkeys(path for leaves in flat for path in leaves))
    paths = [p for p in paths if len({_text(leaves.get(p)) for leaves in flat}) > 1]
    if "task.train_examples" in paths:  # which says it
        paths = [p for p in paths if p != "data.sizes.train"]
    # the checksum of data says less than whatever else is different
    paths.sort(key=lambda p: p.startswith("data.checksums"))
    return [_words(leaves, paths) for leaves in flat]


def _words(leaves: Mapping[str, Any], paths: Sequence[str]) -> str:
    named = [_named(p, leaves[p]) for p in paths[:MOST] if p in leaves]
    absent = [f"without {p}" for p in paths[:MOST] if p not in leaves]
    rest = [f"{len(paths) - MOST} more"] if len(paths) > MOST else []
    return " ".join([*named, *absent]) + (f" and {rest[0]}" if rest else "")


def _named(path: str, value: object) -> str:
    if path == "epochs" and isinstance(value, int):
        return f"{value} epoch{'' if value == 1 else 's'}"
    return f"{path}={_text(value)}" if path != "precision" else str(value)


def _leaves(content: object, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(content, Mapping) and content:
        for key in sorted(content):
            yield from _leaves(content[key], f"{path}.{key}" if path else str(key))
    elif isinstance(content, list) and content and any(isinstance(v, dict) for v in content):
        for index, value in enumerate(content):
            yield from _leaves(value, f"{path}.{index}")
    else:
        yield path, content


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 24 else f"{text[:20]}..."
