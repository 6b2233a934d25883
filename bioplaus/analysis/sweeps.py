"""Boards that differ in one number of their task alone, such as depth or examples to learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bioplaus.analysis.boards import SWEPT, Board
from bioplaus.analysis.cells import shared_part
from bioplaus.records.keys import digest

WORDS = {
    "depth": "layers with weights",
    "width": "units of a hidden layer",
    "batch_size": "examples in a batch",
    "train_examples": "examples to learn from",
    "label_noise": "share of wrong labels",
}
"""What the fields that suites sweep count."""


@dataclass(frozen=True)
class Sweep:
    """Boards of one task and tuning budget, by the value of the field that tells them apart."""

    task: str
    field: str
    values: tuple[float, ...]
    """Rising, one for each board."""
    boards: tuple[Board, ...]

    def accuracies(self) -> dict[str, list[tuple[float, float, float, float]]]:
        """Rule -> (value, mean test accuracy, low, high) of each board where it has a mean.

        Low and high are the mean's 95 % interval, NaN where one seed is all there is.
        """
        found: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
        for value, board in zip(self.values, self.boards, strict=True):
            for rule, cell in board.entries.items():
                if cell.estimate is not None:
                    mean = cell.estimate
                    found[rule].append((value, mean.value, mean.low, mean.high))
        return dict(found)


def sweeps(boards: Sequence[Board]) -> list[Sweep]:
    """Those of three boards and more, by task and field."""
    found = []
    for field in SWEPT:
        groups: dict[str, dict[float, Board]] = defaultdict(dict)
        for board in boards:
            shared = shared_part(board.cells[0].configuration)
            value = _mapping(shared["task"]).get(field)
            if isinstance(value, int | float) and not isinstance(value, bool):
                groups[_rest(shared, field, board)][float(value)] = board
        for group in groups.values():
            if len(group) > 2:
                values = tuple(sorted(group))
                chosen = tuple(group[value] for value in values)
                found.append(Sweep(chosen[0].task, field, values, chosen))
    return sorted(found, key=lambda sweep: (sweep.task, sweep.field))


def _rest(shared: Mapping[str, Any], field: str, board: Board) -> str:
    """Digest of all that boards have in common but for the field, and what follows from it."""
    task = {k: v for k, v in _mapping(shared["task"]).items() if k != field}
    data = {k: v for k, v in _mapping(shared["data"]).items() if k != "sizes"}
    budget = board.budget.model_dump() if board.budget else None
    rest = {"task": task, "data": data, "budget": budget, "name": board.task}
    return digest(rest | {k: shared[k] for k in ("epochs", "precision")})


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
