"""Boards that differ in one number of their task alone, such as depth or examples to learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bioplaus.analysis.boards import SWEPT, Board, swept_value
from bioplaus.analysis.cells import shared_part
from bioplaus.analysis.differing import differing
from bioplaus.records.keys import digest

WORDS = {
    "depth": "layers with weights",
    "width": "units of a hidden layer",
    "batch_size": "examples in a batch",
    "train_examples": "examples to learn from",
    "label_noise": "share of wrong labels",
    "pruning.sparsity": "share of weights left out",
    "continual.experiences": "experiences learned in turn",
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
    also: str = ""
    """What tells it from the other sweeps of its field and task; "" where it is the only one."""

    @property
    def title(self) -> str:
        """The task, and what else is to be known."""
        return ", ".join(filter(None, (self.task, self.also)))

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
    """Those of three boards and more, by task and field.

    Where a suite crosses fields there is one for each value of the others.
    """
    found = []
    for field in SWEPT:
        groups: dict[str, dict[float, Board]] = defaultdict(dict)
        for board in boards:
            shared = shared_part(board.cells[0].configuration)
            value = swept_value(shared["task"], field)
            if value is not None:
                for rest in _rests(shared, field, board):
                    groups[rest][float(value)] = board
        chosen = [group for group in groups.values() if len(group) > 2]
        # with equal epochs and equal steps it is found twice
        once = {tuple(sorted((v, id(b)) for v, b in g.items())): g for g in chosen}
        found += _titled(field, list(once.values()))
    return sorted(found, key=lambda s: (s.task, s.field, _others(s), s.also))


def _others(sweep: Sweep) -> list[float]:
    """The numbers that its boards share."""
    content = sweep.boards[0].cells[0].configuration.get("task")
    found = (swept_value(content, name) for name in SWEPT if name != sweep.field)
    return [-1.0 if v is None else v for v in found]


def _titled(field: str, groups: Sequence[Mapping[float, Board]]) -> list[Sweep]:
    """Each with what tells it from the others of its task."""
    made: dict[str, list[Sweep]] = defaultdict(list)
    for group in groups:
        values = tuple(sorted(group))
        boards = tuple(group[value] for value in values)
        made[boards[0].task].append(Sweep(boards[0].task, field, values, boards))
    found = []
    for alike in made.values():
        contents = [_without(s.boards[0].cells[0].configuration, field) for s in alike]
        words = differing(contents)
        found += [replace(s, also=w) for s, w in zip(alike, words, strict=True)]
    return found


def _without(configuration: Mapping[str, Any], field: str) -> dict[str, Any]:
    """What boards have in common, less the field and what follows from it."""
    shared = shared_part(configuration)
    task, data = _less(shared["task"], field), _less(shared["data"], "sizes")
    return {"task": task, "data": data, "epochs": shared["epochs"]}


def _rests(shared: Mapping[str, Any], field: str, board: Board) -> list[str]:
    """Digests of all that boards have in common but for the field, and what follows from it.

    With more examples a run may have as many epochs as with fewer, or as many steps.
    """
    task, data = _less(shared["task"], field), _less(shared["data"], "sizes")
    budget = board.budget.model_dump() if board.budget else None
    rest = {"task": task, "data": data, "budget": budget, "name": board.task,
            "precision": shared["precision"]}  # fmt: skip
    found = [digest(rest | {"epochs": shared["epochs"]})]
    size, examples = _mapping(shared["task"]).get("batch_size"), None
    if field == "train_examples":
        examples = _mapping(shared["task"]).get(field)
    if isinstance(size, int) and isinstance(examples, int) and isinstance(shared["epochs"], int):
        found.append(digest(rest | {"steps": shared["epochs"] * (examples // max(1, size))}))
    return found


def _less(table: object, name: str) -> dict[str, Any]:
    """The table without a value, which may be in a table of it."""
    first, _, rest = name.partition(".")
    kept = {k: v for k, v in _mapping(table).items() if k != first}
    return kept | ({first: _less(_mapping(table).get(first), rest)} if rest else {})


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
