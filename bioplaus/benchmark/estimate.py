"""How long a benchmark may take, from the speed that a results folder has seen."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bioplaus.benchmark.optuna_study import FIRST_WAVE, LATER_WAVES
from bioplaus.benchmark.plan import Benchmark, Entry, Left, Place, left
from bioplaus.benchmark.tuning import trials_together
from bioplaus.records.keys import digest
from bioplaus.records.schema import Record
from bioplaus.training.groups import evenly

Cell = tuple[str, str, str]
"""A task's name, a rule, and a digest of all that the task is, its network's size among it."""
Speeds = Mapping[Cell, float]
"""Seconds of one seed's epoch, evaluation included."""


def cell_of(entry: Entry) -> Cell:
    """What a speed is of."""
    return _cell(entry.task.name, entry.rule, entry.base.task.content())


def _cell(task: str, rule: str, content: object) -> Cell:
    return task, rule, digest({"task": content})


def speeds(records: Iterable[Record]) -> Speeds:
    """The median over the records; seconds are shared equally by the seeds of a group."""
    seen: dict[Cell, list[float]] = defaultdict(list)
    for record in records:
        timing, epochs = record.timing, len(record.curves.test_accuracy)
        together = record.provenance.get("epochs_together")
        epochs = together if isinstance(together, int) else epochs
        if epochs > 0:
            spent = timing.group_train_seconds + timing.group_evaluation_seconds
            cell = _cell(record.task, record.rule, record.configuration.get("task"))
            seen[cell].append(spent / timing.group_size / epochs)
    return {cell: statistics.median(found) for cell, found in seen.items()}


def seconds(item: Left, known: Speeds) -> float | None:
    """What is left of an entry, on one worker; None where its speed was never seen."""
    entry = item.entry
    speed = known.get(cell_of(entry))
    if speed is None:
        return None
    trials = entry.budget.seeds * entry.budget.epochs * item.trials if entry.budget else 0
    return speed * (trials + len(item.seeds) * entry.base.task.epochs)


def setups(records: Iterable[Record]) -> dict[tuple[str, str], float]:
    """(task, rule) -> seconds of tracing and compiling a step, the median over the records."""
    seen: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        seen[record.task, record.rule].append(record.timing.setup_seconds)
    return {place: statistics.median(found) for place, found in seen.items()}


def wave_sizes(trials: int) -> list[int]:
    """How many trials of a tuning run at a time, wave after wave."""
    rest = max(0, trials - FIRST_WAVE)
    later = [LATER_WAVES] * (rest // LATER_WAVES) + [rest % LATER_WAVES]
    return [size for size in (min(trials, FIRST_WAVE), *later) if size]


def waves_left(benchmark: Benchmark, place: Place) -> list[int]:
    """How many waves of jobs each entry still takes, one after the other; 0 for none."""
    lefts = {id(item.entry): item for item in left(benchmark, place)}
    items = [lefts.get(id(entry)) for entry in benchmark.entries]
    return [0 if i is None else len(wave_sizes(i.trials)) + bool(i.seeds) for i in items]


def waves(
    item: Left, known: Speeds, setup: Mapping[tuple[str, str], float], place: Place
) -> list[list[float]] | None:
    """Seconds of each job of what is left of an entry, wave after wave; None for unknown.

    Trials of a wave are taken to be of one structure, so that as many train together as the
    device is quickest with.
    """
    entry = item.entry
    pace, start = known.get(cell_of(entry)), setup.get((entry.task.name, entry.rule), 0.0)
    if pace is None:
        return None
    found = []
    if entry.budget and item.trials:
        budget = entry.budget
        together = trials_together(entry.base, place.device, budget.seeds)
        for size in wave_sizes(item.trials):
            jobs = [min(together, size - first) for first in range(0, size, together)]
            found.append([start + n * budget.seeds * budget.epochs * pace for n in jobs])
    groups = evenly(item.seeds, place.together(entry.base))
    found.append([start + len(group) * entry.base.task.epochs * pace for group in groups])
    return found


def total(lefts: Sequence[Left], known: Speeds, slots: int) -> tuple[float, int]:
    """Seconds on so many workers of all whose speed is known, and how many are not."""
    found = [seconds(item, known) for item in lefts]
    return sum(s for s in found if s is not None) / slots, found.count(None)


def in_words(number: float) -> str:
    """`40 s`, `12 min`, `3.5 h`: no more digits than an estimate has."""
    if number < 1:
        return "1 s"
    if number < 90:
        return f"{number:.0f} s"
    return f"{number / 60:.0f} min" if number < 5400 else f"{number / 3600:.1f} h"
