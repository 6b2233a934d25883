"""What a board shows of one cell: curves, steps to a target, alignment, cost, its command."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bioplaus.analysis.cells import Cell
from bioplaus.analysis.statistics import Floats, mean_bands
from bioplaus.records.commands import run_again
from bioplaus.records.schema import Record

MISSING = "-"


class Band(NamedTuple):
    """A curve over epochs with the 95 % interval of its mean, (E,) each; NaN where unknown."""

    mean: Floats
    low: Floats
    high: Floats


def score_curve(cell: Cell) -> Band:
    """The test score after each epoch, of the seeds that lived to the end.

    A seed whose best network is its result keeps that one's score from then on.
    """
    lived = [r for r in cell.records if r.status != "diverged"]
    curves, metric = [cell.metric.curve(r) for r in lived], cell.metric
    epochs = max(map(len, curves), default=0)
    rows = np.full((len(lived), epochs), np.nan)
    for row, curve, record in zip(rows, curves, lived, strict=True):
        values = _numbers(curve)
        row[: len(values)] = values
        if record.early_stop is not None:
            row[len(values) :] = values[-1:]
    if any(record.early_stop for record in lived):  # between evaluations too, where all have one
        rows[:, np.isnan(rows).any(0)] = np.nan
    return Band(*(np.clip(part, metric.least, metric.most) for part in mean_bands(rows)))


def layers(records: Sequence[Record]) -> list[str]:
    """The layers that were probed, from the input up, as the records name them."""
    found = {tuple(r.curves.alignment.get("loss", ())) for r in records}
    names = {n.removeprefix("cosine.") for ns in found for n in ns if n.startswith("cosine.")}
    return sorted(names, key=lambda l: (int(l), "") if l.isdecimal() else (math.inf, l))


def hidden_alignment(records: Sequence[Record]) -> float | None:
    """Cosine with the loss gradient after the last epoch, the mean over seeds that lived and
    over layers below the top.

    The top layer's is 1 for almost every rule. A layer whose update vanishes has no direction
    and counts 0. None where nothing was probed. Of a single layer, that one.
    """
    names = layers(records)
    below = names[:-1] or names
    found = [
        curve[-1]
        for r in records if r.status != "diverged"
        for layer in below if (curve := r.curves.alignment.get("loss", {}).get(f"cosine.{layer}"))
    ]  # fmt: skip
    return statistics.fmean(v if v is not None else 0.0 for v in found) if found else None


def final_metric(cell: Cell, name: str) -> float | None:
    """What the rule recorded under that name in the last epoch, the mean over seeds that lived."""
    curves = [r.curves.metrics.get(name, ()) for r in cell.records if r.status != "diverged"]
    found = [curve[-1] for curve in curves if curve and curve[-1] is not None]
    return statistics.fmean(found) if found else None


def final_alignment(cell: Cell) -> Band:
    """Cosine with the loss gradient after the last epoch, for each of `layers`."""
    curves = [f"cosine.{layer}" for layer in layers(cell.records)]
    rows = [
        [next(iter(found.get(curve, ())[-1:]), None) for curve in curves]
        for found in (
            r.curves.alignment.get("loss", {}) for r in cell.records if r.status != "diverged"
        )
    ]
    return Band(*mean_bands(np.array(rows, dtype=np.float64)))


def alignment_curve(cell: Cell) -> Band:
    """Cosine with the loss gradient after each epoch, the mean over layers below the top.

    A seed whose best network is its result keeps that one's, as of the score.
    """
    names = layers(cell.records)
    names = names[:-1] or names
    epochs = max((len(_cosine(r, l)) for r in cell.records for l in names), default=0)
    cube = np.full((len(cell.records), len(names), epochs), np.nan)
    for i, record in enumerate(cell.records):
        for j, layer in enumerate(names):
            values = _cosine(record, layer)
            cube[i, j, : len(values)] = values
            if record.early_stop is not None:
                cube[i, j, len(values) :] = values[-1:]
    known = np.isfinite(cube)
    with np.errstate(invalid="ignore"):
        means = np.where(known, cube, 0.0).sum(1) / known.sum(1)
    return Band(*mean_bands(means))


class StepsToTarget(NamedTuple):
    """How soon the seeds reached a score, seen at the ends of epochs."""

    median: float
    """Optimizer steps; infinite where at least half did not get there, NaN where unknown."""
    reached: int
    seeds: int


def steps_to(cell: Cell, target: float) -> StepsToTarget:
    """Optimizer steps until the validation score first was `target`; the median over seeds.

    A seed that diverged did not get there, though it was there once.
    """
    per_epoch, metric = steps_per_epoch(cell), cell.metric
    steps = []
    for record in cell.records:
        lived = record.status != "diverged"
        curve = enumerate(metric.curve(record, "validation") if lived else [], start=1)
        due = metric.merit(target)
        first = (epoch for epoch, v in curve if v is not None and metric.merit(v) >= due)
        steps.append(float(next(first, math.inf) * per_epoch))
    reached = sum(map(math.isfinite, steps))
    if not per_epoch:
        return StepsToTarget(math.nan, reached, len(steps))
    return StepsToTarget(statistics.median_high(steps), reached, len(steps))


def steps_per_epoch(cell: Cell) -> int:
    """Optimizer steps in an epoch; 0 where the record does not say."""
    task = _mapping(cell.configuration.get("task"))
    sizes = _mapping(_mapping(cell.configuration.get("data")).get("sizes"))
    size, batch = sizes.get("train"), task.get("batch_size")
    if _mapping(task.get("continual")).get("kind") == "split":
        return 0  # the experience with the fewest examples decides, and is not told
    return size // batch if isinstance(size, int) and isinstance(batch, int) and batch else 0


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean, where no value is missing."""
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def train_seconds(cell: Cell) -> float | None:
    """Mean over seeds of each one's share of the training time."""
    return mean_of([r.timing.train_seconds for r in cell.records])


def cost(cell: Cell, name: str) -> float | None:
    """Mean over seeds of a field of the records' cost; None where it was not measured."""
    return mean_of([_number(getattr(r.cost, name, None)) for r in cell.records])


def command(cell: Cell) -> str:
    """The command that runs this cell again, or where seeds were tuned one by one, those."""
    return "\n".join(run_again(records) for records in cell.parts.values())


def _cosine(record: Record, layer: str) -> Floats:
    return _numbers(record.curves.alignment.get("loss", {}).get(f"cosine.{layer}", []))


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
