"""What probes find without any learning: beside every rule on a task without labels, always.

Without these the numbers mislead: random features of the digits are read at 95 %.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bioplaus.records.metric import Part
from bioplaus.records.schema import Record

NAMES = {"pixels": "raw examples", "untrained": "untrained network"}


@dataclass(frozen=True)
class Reference:
    """One of them, on one task."""

    name: str
    test: tuple[float, ...]
    """Accuracy of the logistic reader, of each seed that has one; raw examples are the same
    for all."""
    validation: tuple[float, ...]


def references(records: Iterable[Record]) -> list[Reference]:
    """Of the records of one task, each seed counted once; [] where nothing was probed."""
    found = []
    every = list(records)
    for key, name in NAMES.items():
        test, validation = (_by_seed(every, part, key) for part in ("test", "validation"))
        if test:
            found.append(Reference(name, test, validation))
    return found


def _by_seed(records: Iterable[Record], part: Part, key: str) -> tuple[float, ...]:
    seeds: dict[int, float] = {}
    for record in records:
        curve = record.curves.metrics.get(f"{part}_probe_{key}")
        if curve and curve[-1] is not None:
            seeds.setdefault(record.seed, curve[-1])
    values = [seeds[seed] for seed in sorted(seeds)]
    return tuple(values[:1] if key == "pixels" else values)
