"""What every report shows: one row per task, rule and configuration."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bioplaus.analysis.boards import conditions
from bioplaus.analysis.cells import Cell, cells, shared_part, sort_key
from bioplaus.analysis.differing import differing
from bioplaus.analysis.references import references
from bioplaus.errors import printable
from bioplaus.records.metric import ACCURACY, Metric
from bioplaus.records.schema import Record, ResultSet

from .cell_measures import MISSING, hidden_alignment

COLUMNS = {
    "task": ("str", "the task"),
    "rule": ("str", "the rule"),
    "config": ("str", "what differs from the defaults, as --set takes it"),
    "seeds": ("int64", "how many there are"),
    "diverged": ("int64", "how many of them diverged"),
    "test_accuracy": ("float64", "a fraction, mean; null for a task without classes"),
    "test_accuracy_std": ("float64", "its sample standard deviation; null below two seeds"),
    "validation_accuracy": ("float64", "as test_accuracy, of the validation split"),
    "validation_accuracy_std": ("float64", "as test_accuracy_std"),
    "train_loss": ("float64", "of the last epoch, mean"),
    "train_seconds": ("float64", "a seed's share of those that trained together, mean"),
    "alignment": (
        "float64",
        "cosine with the loss gradient at the end, below the top, mean",
    ),
    "epochs": ("int64", "of the longest curve"),
    "cell": ("str", "first 16 digits of the digest of the configuration"),
    "metric": ("str", "what the task is judged by: accuracy, r2, loss, ..."),
    "test_score": ("float64", "that metric on the test split, mean"),
    "test_score_std": ("float64", "its sample standard deviation"),
    "validation_score": ("float64", "as test_score, of the validation split"),
    "validation_score_std": ("float64", "as test_score_std"),
    "spikes": ("float64", "of an inference on the test split, mean; null where no unit spikes"),
    "synaptic_operations": ("float64", "each spike times the weights that it reaches, likewise"),
    "forgetting": ("float64", "of experiences learned in turn, a fraction, mean; null without"),
    "backward_transfer": ("float64", "as forgetting: how much the accuracy on them changed since"),
}
"""Columns of the summary, in order: their types and meanings."""

LEGEND = (
    "Mean ± sample standard deviation over the seeds that did not diverge; alignment: cosine "
    "with the loss gradient after the last epoch, below the top."
)
_EARLY = " Seeds that stop early end with their best epoch by validation."
NO_RECORDS = "No records."


def legend(records: Iterable[Record]) -> str:
    """What the numbers of these records are."""
    return LEGEND + (_EARLY if any(r.early_stop for r in records) else "")


def summarise(records: Iterable[Record]) -> pd.DataFrame:
    """One row per (task, rule, configuration); the order of the records does not matter.

    Accuracies are fractions; `metric` names what the task is judged by, of which the scores
    are. Means and sample standard deviations (ddof 1) are over the
    `seeds - diverged` seeds that did not diverge, and null where one of these lacks the
    number. `alignment` is the mean over seeds and the layers below the top of the last
    epoch's cosine with the loss gradient; a layer whose update vanishes counts 0. Records of
    one configuration that different sources of a rule made are rows of their own. Rows are
    sorted by task, then by test score, the best first.
    """
    frame = pd.DataFrame([_row(cell) for cell in _ordered(records)], columns=list(COLUMNS))
    return frame.astype({name: kind for name, (kind, _) in COLUMNS.items()})


def _ordered(records: Iterable[Record]) -> list[Cell]:
    return sorted(cells(ResultSet(list(records))), key=_rank)


def _row(cell: Cell) -> dict[str, Any]:
    first = cell.records[0]
    sound = [r for r in cell.records if r.status != "diverged"]
    test = [r.test_accuracy for r in sound]
    validation = [r.validation_accuracy for r in sound]
    score = [cell.metric.score(r) for r in sound]
    held_out = [cell.metric.score(r, "validation") for r in sound]
    return {
        "task": first.task,
        "rule": first.rule,
        "config": cell.label,
        "seeds": len(cell.records),
        "diverged": len(cell.diverged),
        "test_accuracy": _mean(test),
        "test_accuracy_std": _std(test),
        "validation_accuracy": _mean(validation),
        "validation_accuracy_std": _std(validation),
        "train_loss": _mean([r.train_loss for r in sound]),
        "train_seconds": _mean([r.timing.train_seconds for r in sound]),
        "alignment": hidden_alignment(cell.records),
        "epochs": max(len(r.curves.test_accuracy) for r in cell.records),
        "cell": cell.digest[:16],
        "metric": cell.metric.name,
        "test_score": _mean(score),
        "test_score_std": _std(score),
        "validation_score": _mean(held_out),
        "validation_score_std": _std(held_out),
        "spikes": _mean([_last(r, "test_spikes") for r in sound]),
        "synaptic_operations": _mean([_last(r, "test_synaptic_operations") for r in sound]),
        "forgetting": _mean([_last(r, "test_forgetting") for r in sound]),
        "backward_transfer": _mean([_last(r, "test_backward_transfer") for r in sound]),
    }


def _rank(cell: Cell) -> tuple[Any, ...]:
    row = _row(cell)
    score = row["test_score"]
    missing = score is None
    return (cell.task, missing, 0.0 if missing else -cell.metric.merit(score), *sort_key(cell))


def _known(values: Sequence[float | None]) -> list[float]:
    """The values, or none of them where one is missing."""
    known = [v for v in values if v is not None]
    return known if len(known) == len(values) else []


def _mean(values: Sequence[float | None]) -> float | None:
    known = _known(values)
    return statistics.fmean(known) if known else None


def _last(record: Record, metric: str) -> float | None:
    curve = record.curves.metrics.get(metric)
    return curve[-1] if curve else None


def _std(values: Sequence[float | None]) -> float | None:
    known = _known(values)
    return statistics.stdev(known) if len(known) > 1 else None


def rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The summary's rows as plain Python values, None for null."""
    return [_row(cell) for cell in _ordered(records)]


@dataclass(frozen=True)
class TaskTable:
    """One task's summary for people: text in every cell, not yet escaped for any format."""

    task: str
    columns: list[str]
    """Names out of `SHOWN`."""
    rows: list[list[str]]
    cells: list[Cell]
    """What each row is of."""
    references: list[list[str]] = field(default_factory=list)
    """Rows that no rule made: what probes find without learning."""

    @property
    def metric(self) -> Metric:
        """What the scores are."""
        return self.cells[0].metric


SHOWN = (
    "rule",
    "config",
    "seeds",
    "test_score",
    "validation_score",
    "train_seconds",
    "alignment",
    "spikes",
    "synaptic_operations",
    "backward_transfer",
)
ALWAYS = {"rule", "seeds", "test_score"}


def task_tables(records: Iterable[Record]) -> list[TaskTable]:
    """The summary for people, without columns that are empty throughout.

    One table for each task; tasks of one name that differ have a table each, which says in what.
    """
    found: dict[str, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in _ordered(records):
        found[cell.task][conditions(cell.configuration)].append(cell)
    made = []
    for task, groups in found.items():
        words = differing([shared_part(g[0].configuration) for g in groups.values()])
        for word, group in zip(words, groups.values(), strict=True):
            made.append(_table(", ".join(filter(None, (task, word))), group))
    return made


def _table(title: str, group: list[Cell]) -> TaskTable:
    alike: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in group:
        alike[cell.rule, cell.label].append(cell)
    apart = {id(c): word for same in alike.values() for c, word in _told_apart(same)}
    shown = [_shown(_row(cell), apart[id(cell)], cell.metric) for cell in group]
    empty = {"", MISSING}
    kept = [c for c in SHOWN if c in ALWAYS or any(row[c] not in empty for row in shown)]
    beside = [[row.get(c, MISSING) for c in kept] for row in _references(group)]
    return TaskTable(title, kept, [[row[c] for c in kept] for row in shown], group, beside)


def _references(group: list[Cell]) -> list[dict[str, str]]:
    """Rows as text of what was not learned, where the scores are a probe's."""
    if group[0].metric != ACCURACY:
        return []
    return [
        {
            "rule": f"({found.name})",
            "config": "",
            "seeds": str(len(found.test)),
            "test_score": _score(_mean(found.test), _std(found.test), ACCURACY),
            "validation_score": _score(_mean(found.validation), _std(found.validation), ACCURACY),
        }
        for found in references(r for cell in group for r in cell.records)
    ]


def _told_apart(same: list[Cell]) -> list[tuple[Cell, str]]:
    """Cells of one rule and label, each with what it differs in from the others."""
    words = differing([c.configuration for c in same])
    sources = {c.source for c in same}
    return [
        (c, ", ".join(filter(None, (
            word, f"rule source {(c.source or 'unknown')[:8]}" if len(sources) > 1 else ""
        )))) for c, word in zip(same, words, strict=True)
    ]  # fmt: skip


def _shown(row: dict[str, Any], apart: str, metric: Metric) -> dict[str, str]:
    """A row as text; `apart` tells it from others with the same label."""
    config = f"{row['config']} ({apart})".lstrip() if apart else row["config"]
    sound = row["seeds"] - row["diverged"]
    diverged = f"{sound} of {row['seeds']} ({row['diverged']} diverged)"
    seconds, alignment, backward = row["train_seconds"], row["alignment"], row["backward_transfer"]
    return {
        "rule": row["rule"],
        "config": printable(config),
        "seeds": diverged if row["diverged"] else str(row["seeds"]),
        "test_score": _score(row["test_score"], row["test_score_std"], metric),
        "validation_score": _score(row["validation_score"], row["validation_score_std"], metric),
        "train_seconds": MISSING if seconds is None else f"{seconds:.{1 if seconds >= 10 else 2}f}",
        "alignment": MISSING if alignment is None else f"{alignment:z.3f}",
        "backward_transfer": MISSING if backward is None else f"{100 * backward:z.2f}",
        "spikes": _whole(row["spikes"]),
        "synaptic_operations": _whole(row["synaptic_operations"]),
    }


def _whole(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def _score(mean: float | None, std: float | None, metric: Metric) -> str:
    if mean is None:
        return MISSING
    return metric.shown(mean) if std is None else f"{metric.shown(mean)} ± {metric.shown(std)}"
