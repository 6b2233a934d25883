"""From records to comparisons: which cells may be compared.

Only cells with the same task, data, epochs, precision and tuning budget are compared: a
*board*. A rule with several configurations on a board stands for itself with one of them,
which is never chosen by test scores: the default, or else the best on the validation split.
A tuned rule stands for itself with what the tuning chose, and what was set by hand has no place
beside it.

A seed without a record is not guessed: its cell is marked incomplete, has no place, and is
left out of aggregates over tasks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from bioplaus.analysis.cells import Cell, cells, mean_validation, shared_part, sort_key
from bioplaus.analysis.differing import differing
from bioplaus.analysis.ranking import Comparison, Standing, compare_all, compare_cells, rank_cells
from bioplaus.records.keys import digest
from bioplaus.records.metric import Metric
from bioplaus.records.schema import ResultSet, TuningBudget

SWEPT = ("depth", "width", "batch_size", "train_examples", "label_noise", "pruning.sparsity",
         "continual.experiences")  # fmt: skip
"""Numbers of a task that suites sweep: boards that they alone tell apart stand in their order."""


@dataclass(frozen=True)
class Board:
    """All cells that may be compared."""

    task: str
    conditions: str
    """Digest of the task's content, data, epochs and precision."""
    budget: TuningBudget | None
    """What every rule's settings were chosen with; None where nothing was tuned."""
    title: str
    cells: tuple[Cell, ...]
    """Sorted by rule, label and digest."""

    @cached_property
    def entries(self) -> dict[str, Cell]:
        """The cell that stands for each rule."""
        by_rule: dict[str, list[Cell]] = defaultdict(list)
        for cell in self.cells:
            by_rule[cell.rule].append(cell)
        return {rule: _representative(found, self.budget) for rule, found in by_rule.items()}

    @property
    def metric(self) -> Metric:
        """What its cells are ranked by."""
        return self.cells[0].metric

    @property
    def seeds(self) -> int:
        """How many seeds a complete cell has here: as many as the rule with the most."""
        return max((len(c.records) for c in self.entries.values()), default=0)

    def complete(self, cell: Cell) -> bool:
        """Whether a cell has all the seeds that it, and the others here, should have."""
        return not cell.absent and len(cell.records) >= self.seeds

    @cached_property
    def ranked(self) -> list[Cell]:
        """The cells that have a place."""
        return [c for c in self.entries.values() if not self.why_not_ranked(c)]

    def why_not_ranked(self, cell: Cell) -> str:
        """What keeps a cell from having a place here; "" for nothing."""
        if cell.budget != self.budget:
            return f"{cell.origin}: not ranked beside tuned ones"
        if self.entries[cell.rule] is not cell:
            return "another configuration: not ranked"
        return cell.why_not_ranked

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Every pair of the ranked ones, corrected for their number."""
        return compare_all(self.ranked)

    @cached_property
    def _pairs(self) -> dict[tuple[int, int], Comparison]:
        both = [c for one in self.comparisons for c in (one, one.turned())]
        return {(id(c.a), id(c.b)): c for c in both}

    def compare(self, a: Cell, b: Cell) -> Comparison:
        """Two cells; corrected as the board is where both are ranked, else the pair alone."""
        found = self._pairs.get((id(a), id(b)))
        return compare_cells(a, b) if found is None else found

    @cached_property
    def standings(self) -> list[Standing]:
        """The ranked ones with their places, the best first."""
        return rank_cells(self.ranked, self.comparisons)


def boards(results: ResultSet) -> list[Board]:
    """The boards of a results folder, sorted by task; the order of records does not matter."""
    sorted_in: dict[tuple[str, str, TuningBudget | None], list[Cell]] = defaultdict(list)
    for cell in cells(results):
        sorted_in[cell.task, conditions(cell.configuration), cell.budget].append(cell)
    for task, shared in {key[:2] for key in sorted_in}:
        _beside_tuned(sorted_in, task, shared)
    made = [
        Board(task, shared, budget, task, tuple(sorted(group, key=sort_key)))
        for (task, shared, budget), group in sorted_in.items()
    ]
    return _titled(sorted(made, key=_order))


def _beside_tuned(
    sorted_in: dict[tuple[str, str, TuningBudget | None], list[Cell]], task: str, shared: str
) -> None:
    """Put what was not tuned on the board of what was, where it makes no board of its own.

    It makes one where two rules ran with their defaults. On the other's board it has no place.
    """
    budgets = [b for t, s, b in sorted_in if (t, s) == (task, shared) and b is not None]
    loose = sorted_in.get((task, shared, None), [])
    if budgets and len({c.rule for c in loose if c.origin == "defaults"}) < 2:
        most = max(budgets, key=lambda b: (len(sorted_in[task, shared, b]), b.trials, repr(b)))
        sorted_in[task, shared, most] += sorted_in.pop((task, shared, None), [])


def in_words(budget: TuningBudget | None) -> str:
    """A tuning budget."""
    if budget is None:
        return "not tuned"
    parts = (budget.trials, "trial"), (budget.seeds, "seed"), (budget.epochs, "epoch")
    trials, seeds, epochs = (f"{n} {word}{'' if n == 1 else 's'}" for n, word in parts)
    return f"{trials} of {seeds}, {epochs}" + (", anew for each seed" if budget.each_seed else "")


def _representative(group: Iterable[Cell], budget: TuningBudget | None) -> Cell:
    """What the board's budget chose, the default, or the best on the validation split, in that
    order: never by test scores. Of several sources of one rule the one with the most records.
    """
    by_digest: dict[str, list[Cell]] = defaultdict(list)
    for cell in group:
        by_digest[cell.digest].append(cell)
    found = [min(same, key=lambda c: (-len(c.records), sort_key(c))) for same in by_digest.values()]

    def merit(cell: Cell) -> tuple[Any, ...]:
        validation = cell.metric.merit(mean_validation(list(cell.scores("validation").values())))
        return cell.budget != budget, cell.own_label != "", -validation, sort_key(cell)

    return min(found, key=merit)


def conditions(configuration: Mapping[str, Any]) -> str:
    """Digest of what cells must have in common to be compared."""
    return digest(shared_part(configuration))


def _order(board: Board) -> tuple[Any, ...]:
    return board.task, _epochs(board), _effort(board), _swept(board), board.conditions


def _swept(board: Board) -> tuple[float, ...]:
    values = (swept_value(board.cells[0].configuration.get("task"), name) for name in SWEPT)
    return tuple(-1.0 if v is None else v for v in values)


def swept_value(content: object, name: str) -> float | None:
    """The number that a task's content has under a name, "pruning.sparsity" in its table."""
    for part in name.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    number = isinstance(content, int | float) and not isinstance(content, bool)
    return content if number else None  # type: ignore[return-value]


def _epochs(board: Board) -> float:
    epochs = board.cells[0].configuration.get("epochs")
    return epochs if isinstance(epochs, int | float) else 0


def _effort(board: Board) -> tuple[int, ...]:
    b = board.budget
    return (b.trials, b.seeds, b.epochs) if b else (0, 0, 0)


def _titled(made: Sequence[Board]) -> list[Board]:
    """Titles that tell boards of one task apart by what they differ in."""
    by_task: dict[str, list[Board]] = defaultdict(list)
    for board in made:
        by_task[board.task].append(board)
    titled = []
    for group in by_task.values():
        several = len({b.budget for b in group}) > 1
        words = differing([shared_part(b.cells[0].configuration) for b in group])
        for board, word in zip(group, words, strict=True):
            tuned = (in_words(board.budget),) if several else ()
            parts = filter(None, (board.task, word, *tuned))
            titled.append(replace(board, title=", ".join(parts)))
    return titled
