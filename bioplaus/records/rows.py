"""Records as flat rows, for data frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bioplaus.records.metric import metric_of
from bioplaus.records.schema import Record


def to_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One flat row per record, for a data frame."""
    return [
        {
            "task": r.task,
            "rule": r.rule,
            "config": r.label,
            "seed": r.seed,
            "status": r.status,
            "test_accuracy": r.test_accuracy,
            "validation_accuracy": r.validation_accuracy,
            "train_loss": r.train_loss,
            "epochs": len(r.curves.test_accuracy),
            "train_seconds": r.timing.train_seconds,
            "cell": r.cell,
            "key": r.key,
            "metric": metric.name,
            "test_score": metric.score(r),
            "validation_score": metric.score(r, "validation"),
        }
        for r in records
        for metric in (metric_of(r.configuration),)
    ]
