"""The data behind the page, for its CSV downloads: a heading and rows of plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bioplaus.analysis.boards import Board
from bioplaus.errors import printable

from .cell_measures import alignment_curve, score_curve
from .figures import thinned

Rows = list[list[Any]]


def seed_rows(boards: Sequence[Board]) -> Rows:
    """One row for each record."""
    rows: Rows = [["board", "rule", "config", "cell", "seed", "status", "test_accuracy",
                   "validation_accuracy", "train_loss", "train_seconds", "metric", "test_score",
                   "validation_score"]]  # fmt: skip
    for board in boards:
        for cell in board.cells:
            start = [printable(board.title), cell.rule, printable(cell.label), cell.digest[:16]]
            name, score = board.metric.name, board.metric.score
            for r in cell.records:
                rows.append([
                    *start, r.seed, r.status, r.test_accuracy, r.validation_accuracy,
                    r.train_loss, r.timing.train_seconds, name, score(r), score(r, "validation"),
                ])  # fmt: skip
    return rows


def curve_rows(boards: Sequence[Board]) -> Rows:
    """One row for each epoch that a figure shows of a rule."""
    rows: Rows = [["board", "rule", "config", "epoch", "test_accuracy", "test_accuracy_low",
                   "test_accuracy_high", "alignment", "alignment_low",
                   "alignment_high"]]  # fmt: skip
    for board in boards:
        for cell in board.entries.values():
            accuracy, alignment = score_curve(cell), alignment_curve(cell)
            known = [
                i for i in range(len(accuracy.mean))
                if any(_at(band.mean, i) is not None for band in (accuracy, alignment))
            ]  # fmt: skip
            for i in thinned(known):
                measured = [_at(part, i) for band in (accuracy, alignment) for part in band]
                rows.append(
                    [printable(board.title), cell.rule, printable(cell.label), i + 1, *measured]
                )
    return rows


def _at(values: Any, index: int) -> float | None:
    known = index < len(values) and math.isfinite(values[index])
    return round(float(values[index]), 6) if known else None
