"""What every report shows: one row per task, rule and configuration."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bioplaus.records.schema import Record

COLUMNS = {
    "task": "str",
    "rule": "str",
    "config": "str",
    "seeds": "int64",
    "diverged": "int64",
    "test_accuracy": "float64",
    "test_accuracy_std": "float64",
    "validation_accuracy": "float64",
    "validation_accuracy_std": "float64",
    "train_loss": "float64",
    "train_seconds": "float64",
    "alignment": "float64",
    "epochs": "int64",
    "cell": "str",
}
"""Columns of the summary, in order, with their types."""

LEGEND = (
    "Mean ± sample standard deviation over the seeds that did not diverge; "
    "alignment: cosine with the loss gradient after the last epoch."
)
NO_RECORDS = "No records."
MISSING = "-"


def summarise(records: Iterable[Record]) -> pd.DataFrame:
    """One row per (task, rule, configuration); the order of the records does not matter.

    Accuracies are fractions. Means and sample standard deviations (ddof 1) are over the
    `seeds - diverged` seeds that did not diverge, and null where one of these lacks the
    number. `alignment` is the mean over seeds and layers of the last epoch's cosine with
    the loss gradient. Rows are sorted by task, then by falling test accuracy.
    """
    cells: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        cells[record.task, record.rule, record.cell].append(record)
    ordered = sorted(((_row(cell), key) for key, cell in cells.items()), key=_rank)
    frame = pd.DataFrame([row for row, _ in ordered], columns=list(COLUMNS))
    return frame.astype(COLUMNS)


def _row(cell: Sequence[Record]) -> dict[str, Any]:
    first = min(cell, key=lambda r: (r.label, r.seed))
    sound = [r for r in cell if r.status != "diverged"]
    test = [r.test_accuracy for r in sound]
    validation = [r.validation_accuracy for r in sound]
    cosines = [c for r in sound for c in _last_cosines(r) if c is not None]
    return {
        "task": first.task,
        "rule": first.rule,
        "config": first.label,
        "seeds": len(cell),
        "diverged": len(cell) - len(sound),
        "test_accuracy": _mean(test),
        "test_accuracy_std": _std(test),
        "validation_accuracy": _mean(validation),
        "validation_accuracy_std": _std(validation),
        "train_loss": _mean([r.train_loss for r in sound]),
        "train_seconds": _mean([r.timing.train_seconds for r in sound]),
        "alignment": _mean(cosines),
        "epochs": max(len(r.curves.test_accuracy) for r in cell),
        "cell": first.cell[:16],
    }


def _rank(item: tuple[dict[str, Any], tuple[str, str, str]]) -> tuple[Any, ...]:
    row, key = item
    accuracy = row["test_accuracy"]
    missing = accuracy is None
    return (row["task"], missing, 0.0 if missing else -accuracy, row["rule"], row["config"], key)


def _last_cosines(record: Record) -> list[float | None]:
    curves = record.curves.alignment.get("loss", {})
    return [c[-1] for name, c in curves.items() if name.startswith("cosine.") and c]


def _known(values: Sequence[float | None]) -> list[float]:
    """The values, or none of them where one is missing."""
    known = [v for v in values if v is not None]
    return known if len(known) == len(values) else []


def _mean(values: Sequence[float | None]) -> float | None:
    known = _known(values)
    return statistics.fmean(known) if known else None


def _std(values: Sequence[float | None]) -> float | None:
    known = _known(values)
    return statistics.stdev(known) if len(known) > 1 else None


def rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The summary's rows as plain Python values, None for null."""
    return [
        {
            str(name): None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in summarise(records).to_dict("records")
    ]


@dataclass(frozen=True)
class TaskTable:
    """One task's summary for people: text in every cell, not yet escaped for any format."""

    task: str
    columns: list[str]
    """Names out of `SHOWN`."""
    rows: list[list[str]]


SHOWN = (
    "rule",
    "config",
    "seeds",
    "test_accuracy",
    "validation_accuracy",
    "train_seconds",
    "alignment",
)
ALWAYS = {"rule", "seeds", "test_accuracy"}


def task_tables(records: Iterable[Record]) -> list[TaskTable]:
    """The summary for people, one table per task, without columns that are empty throughout."""
    by_task: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows(records):
        by_task[row["task"]].append(row)
    return [_table(task, group) for task, group in by_task.items()]


def _table(task: str, group: list[dict[str, Any]]) -> TaskTable:
    twice = Counter((row["rule"], row["config"]) for row in group)
    shown = [_shown(row, twice[row["rule"], row["config"]] > 1) for row in group]
    empty = {"", MISSING}
    kept = [c for c in SHOWN if c in ALWAYS or any(row[c] not in empty for row in shown)]
    return TaskTable(task, kept, [[row[c] for c in kept] for row in shown])


def _shown(row: dict[str, Any], ambiguous: bool) -> dict[str, str]:
    """A row as text; the start of the cell tells apart configurations with the same label."""
    config = f"{row['config']} ({row['cell'][:8]})".lstrip() if ambiguous else row["config"]
    sound = row["seeds"] - row["diverged"]
    diverged = f"{sound} of {row['seeds']} ({row['diverged']} diverged)"
    seconds, alignment = row["train_seconds"], row["alignment"]
    return {
        "rule": row["rule"],
        "config": "".join(c if c.isprintable() else " " for c in config),
        "seeds": diverged if row["diverged"] else str(row["seeds"]),
        "test_accuracy": _percent(row["test_accuracy"], row["test_accuracy_std"]),
        "validation_accuracy": _percent(row["validation_accuracy"], row["validation_accuracy_std"]),
        "train_seconds": MISSING if seconds is None else f"{seconds:.{1 if seconds >= 10 else 2}f}",
        "alignment": MISSING if alignment is None else f"{alignment:z.3f}",
    }


def _percent(mean: float | None, std: float | None) -> str:
    if mean is None:
        return MISSING
    return f"{100 * mean:.2f}" if std is None else f"{100 * mean:.2f} ± {100 * std:.2f}"
