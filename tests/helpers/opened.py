"""Which files are opened to be read, as the interpreter itself tells."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_listening: list[list[Path]] = []


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _listening and isinstance(arguments[0], str | Path):
        for heard in _listening:
            heard.append(Path(arguments[0]))


sys.addaudithook(_heard)  # for good: it costs nothing while nobody listens


class Reads(list[Path]):
    """Files in the order in which they were opened."""

    def records(self) -> list[Path]:
        """Those of a results folder that hold records, tunings or failures."""
        beside = {"verification.json", "refusals.json"}
        return [path for path in self if path.suffix == ".json" and path.name not in beside]


@contextmanager
def reads_heard() -> Iterator[Reads]:
    """What is opened from here on."""
    heard = Reads()
    _listening.append(heard)
    try:
        yield heard
    finally:
        _listening.remove(heard)
