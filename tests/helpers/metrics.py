"""Records of tasks that are judged by another metric than accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bioplaus.records.metric import metric_of_task
from bioplaus.records.schema import Record
from tests.helpers.boards import make_cell

VALUES = {"targets": "values", "loss": "mse"}
LOSSES = VALUES | {"metric": "loss"}


def cell(rule: str, content: dict[str, Any], scores: Sequence[float | None]) -> list[Record]:
    """Records whose score is a curve among the metrics, null after a seed diverged."""
    metric = metric_of_task(content)
    made = make_cell(rule, [None if s is None else 0.5 for s in scores], task_content=content)
    changed = []
    for record, score in zip(made, scores, strict=True):
        curves = record.curves.model_copy(update={
            "metrics": {**record.curves.metrics, f"test_{metric.name}": [None, score],
                        f"validation_{metric.name}": [None, score]},
            "test_accuracy": [None, None], "validation_accuracy": [None, None],
        })  # fmt: skip
        changed.append(record.model_copy(
            update={"curves": curves, "test_accuracy": None, "validation_accuracy": None}
        ))  # fmt: skip
    return changed


HIGH, LOW = [0.82, 0.81, 0.83, 0.82, 0.80], [0.31, 0.30, 0.33, 0.29, -0.02]
