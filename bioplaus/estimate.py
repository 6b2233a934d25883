"""How long a benchmark may take, from the speed that a results folder has seen."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bioplaus.bench import Left
from bioplaus.records import Record

Speeds = Mapping[tuple[str, str], float]
"""(task, rule) -> seconds of one seed's epoch, evaluation included."""


def speeds(records: Iterable[Record]) -> Speeds:
    """The median over the records; seconds are shared equally by the seeds of a group."""
    seen: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        timing, epochs = record.timing, len(record.curves.test_accuracy)
        if epochs:
            spent = timing.group_train_seconds + timing.group_evaluation_seconds
            seen[record.task, record.rule].append(spent / timing.group_size / epochs)
    return {place: statistics.median(found) for place, found in seen.items()}


def seconds(left: Left, known: Speeds) -> float | None:
    """What is left of an entry, on one worker; None where its speed was never seen."""
    entry = left.entry
    speed = known.get((entry.task.name, entry.rule))
    if speed is None:
        return None
    trials = entry.budget.seeds * entry.budget.epochs * left.trials if entry.budget else 0
    return speed * (trials + len(left.seeds) * entry.base.task.epochs)


def total(lefts: Sequence[Left], known: Speeds, slots: int) -> tuple[float, int]:
    """Seconds on so many workers of all whose speed is known, and how many are not."""
    found = [seconds(left, known) for left in lefts]
    return sum(s for s in found if s is not None) / slots, found.count(None)


def in_words(number: float) -> str:
    """`40 s`, `12 min`, `3.5 h`: no more digits than an estimate has."""
    if number < 1:
        return "1 s"
    if number < 90:
        return f"{number:.0f} s"
    return f"{number / 60:.0f} min" if number < 5400 else f"{number / 3600:.1f} h"
