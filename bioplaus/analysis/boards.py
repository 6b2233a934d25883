"""From records to comparisons: which cells may be compared, and which of them is better.

Only cells with the same task, data, epochs and precision are compared: a *board*. A rule
with several configurations on a board stands for itself with one of them, which is never
chosen by test accuracy: the tuned one, or else the default, or else the best on the
validation split.

A seed that diverged answers nothing and counts as accuracy 0. A seed without a record is
not guessed: its cell is marked incomplete, and left out of aggregates over tasks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from bioplaus.analysis.statistics import (
    Difference,
    Estimate,
    mean_interval,
    paired_difference,
    tie_groups,
    welch_difference,
)
from bioplaus.records.schema import Record, ResultSet, Tuning, digest

DIVERGED = 0.0
"""The accuracy of a seed that diverged: it answers nothing."""

Metric = Literal["test_accuracy", "validation_accuracy"]


@dataclass(frozen=True)
class Cell:
    """All seeds of one rule under one configuration on one task."""

    task: str
    rule: str
    label: str
    digest: str
    records: tuple[Record, ...]
    """One for each seed, sorted by it."""
    tuning: Tuning | None = None
    """How its configuration was chosen, where it was tuned."""

    @property
    def name(self) -> str:
        """The rule and what differs from its defaults."""
        return f"{self.rule} {self.label}".strip()

    @property
    def configuration(self) -> dict[str, Any]:
        """What its records' keys cover."""
        return self.records[0].configuration

    def scores(self, metric: Metric = "test_accuracy") -> dict[int, float]:
        """Accuracy by seed, as a fraction; a seed that has none is left out."""
        found: dict[int, float] = {}
        for record in self.records:
            value = DIVERGED if record.status == "diverged" else getattr(record, metric)
            if value is not None:
                found[record.seed] = value
        return found

    @cached_property
    def estimate(self) -> Estimate | None:
        """Mean test accuracy over seeds with its interval; None where no seed has one."""
        scores = self.scores()
        return mean_interval(list(scores.values())) if scores else None

    @property
    def diverged(self) -> list[int]:
        """The seeds that diverged."""
        return [r.seed for r in self.records if r.status == "diverged"]

    @cached_property
    def absent(self) -> list[int]:
        """Seeds that trained with these, but have no record or no test accuracy here."""
        launched: set[int] = set()
        for record in self.records:
            together = record.provenance.get("seeds_together")
            if isinstance(together, list):
                launched.update(s for s in together if isinstance(s, int))
        return sorted((launched | {r.seed for r in self.records}) - self.scores().keys())

    @property
    def own_label(self) -> str:
        """The label without what the whole board has in common."""
        parts = self.label.split(" ")
        return " ".join(p for p in parts if not p.startswith(("epochs=", "precision=", "task.")))

    @property
    def short_name(self) -> str:
        """The rule and what differs from its defaults, where the board is known."""
        return f"{self.rule} {self.own_label}".strip()


@dataclass(frozen=True)
class Standing:
    """A cell's place on its board."""

    cell: Cell
    group: int
    """Its tie group, from 1."""
    first: int
    last: int
    """The places that its group takes: all that can be said of its rank."""

    @property
    def rank(self) -> float:
        """The middle of its group's places, for averages."""
        return (self.first + self.last) / 2


@dataclass(frozen=True)
class Board:
    """All cells that may be compared: the same task, data, epochs and precision."""

    task: str
    protocol: str
    """Digest of what they have in common."""
    title: str
    cells: tuple[Cell, ...]
    """Sorted by rule, label and digest."""

    @cached_property
    def entries(self) -> dict[str, Cell]:
        """The cell that stands for each rule."""
        by_rule: dict[str, list[Cell]] = defaultdict(list)
        for cell in self.cells:
            by_rule[cell.rule].append(cell)
        return {rule: _representative(cells) for rule, cells in by_rule.items()}

    @property
    def seeds(self) -> int:
        """How many seeds a complete cell has here: as many as the rule with the most."""
        return max((len(c.scores()) for c in self.entries.values()), default=0)

    def complete(self, cell: Cell) -> bool:
        """Whether a cell has all the seeds that it, and the others here, should have."""
        return not cell.absent and len(cell.scores()) >= self.seeds

    @cached_property
    def standings(self) -> list[Standing]:
        """The rules with at least two seeds, by tie group and falling mean test accuracy."""
        return rank_cells([c for c in self.entries.values() if len(c.scores()) > 1])


def boards(results: ResultSet) -> list[Board]:
    """The boards of a results folder, sorted by task; the order of records does not matter."""
    sorted_in: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells(results):
        sorted_in[cell.task, _protocol(cell.configuration)].append(cell)
    made = [
        Board(task, protocol, task, tuple(sorted(group, key=_order)))
        for (task, protocol), group in sorted_in.items()
    ]
    return _titled(sorted(made, key=lambda b: (b.task, _epochs(b), b.protocol)))


def cells(results: ResultSet) -> list[Cell]:
    """Records gathered by configuration, each with its tuning where it has one."""
    tunings: dict[tuple[str, str, str], Tuning] = {}
    for tuning in sorted(results.tunings, key=lambda t: (t.budget.trials, t.key)):
        tunings[tuning.task, tuning.rule, tuning.cell] = tuning  # the largest budget stays
    by_cell: dict[tuple[str, str, str], dict[int, Record]] = defaultdict(dict)
    for record in results.records:
        seeds = by_cell[record.task, record.rule, record.cell]
        kept = seeds.get(record.seed)
        if kept is None or kept.to_json() > record.to_json():
            seeds[record.seed] = record
    return [
        Cell(task, rule, min(r.label for r in seeds.values()), cell,
             tuple(seeds[s] for s in sorted(seeds)), tunings.get((task, rule, cell)))
        for (task, rule, cell), seeds in sorted(by_cell.items())
    ]  # fmt: skip


def difference(a: Mapping[int, float], b: Mapping[int, float]) -> Difference | None:
    """How much the scores of a exceed those of b, by seed; None below two scores on a side.

    Paired by seed where that keeps at least half of either side's seeds, Welch's otherwise.
    """
    if min(len(a), len(b)) < 2:
        return None
    shared = sorted(a.keys() & b.keys())
    if len(shared) > 1 and 2 * len(shared) >= max(len(a), len(b)):
        return paired_difference([a[s] for s in shared], [b[s] for s in shared])
    return welch_difference(list(a.values()), list(b.values()))


def rank_cells(group: Sequence[Cell]) -> list[Standing]:
    """Cells with at least two seeds each, in tie groups, best first."""
    ordered = sorted(group, key=lambda c: (-_mean(c), *_order(c)))
    scores = [c.scores() for c in ordered]

    def p_value(i: int, j: int) -> float:
        found = difference(scores[i], scores[j])
        return 1.0 if found is None else found.p

    groups = tie_groups([_mean(c) for c in ordered], p_value)
    placed = [
        Standing(cell, g, 1 + sum(o < g for o in groups), sum(o <= g for o in groups))
        for cell, g in zip(ordered, groups, strict=True)
    ]
    return sorted(placed, key=lambda s: s.group)


def _mean(cell: Cell) -> float:
    return cell.estimate.value if cell.estimate else float("-inf")


def _order(cell: Cell) -> tuple[str, str, str]:
    return cell.rule, cell.label, cell.digest


def _representative(group: Iterable[Cell]) -> Cell:
    """Tuned, or else default, or else best on the validation split: never by test accuracy."""

    def merit(cell: Cell) -> tuple[Any, ...]:
        validation = list(cell.scores("validation_accuracy").values())
        mean = sum(validation) / len(validation) if validation else float("-inf")
        tuned = cell.tuning.budget.trials if cell.tuning else 0
        return -tuned, cell.own_label != "", -mean, _order(cell)

    return min(group, key=merit)


def _protocol(configuration: Mapping[str, Any]) -> str:
    """What cells must have in common to be compared."""
    return digest({k: configuration.get(k) for k in ("task", "data", "epochs", "precision")})


def _epochs(board: Board) -> float:
    epochs = board.cells[0].configuration.get("epochs")
    return epochs if isinstance(epochs, int | float) else 0


def _titled(made: list[Board]) -> list[Board]:
    """Titles that tell boards of one task apart."""
    by_task: dict[str, list[Board]] = defaultdict(list)
    for board in made:
        by_task[board.task].append(board)
    titled = []
    for group in by_task.values():
        if len(group) == 1:
            titled.append(group[0])
            continue
        names = [_conditions(b) for b in group]
        for board, name in zip(group, names, strict=True):
            exact = f" ({board.protocol[:8]})" if names.count(name) > 1 else ""
            titled.append(replace(board, title=f"{board.task}, {name}{exact}"))
    return titled


def _conditions(board: Board) -> str:
    configuration = board.cells[0].configuration
    epochs, precision = configuration.get("epochs"), configuration.get("precision")
    extra = f", {precision}" if precision not in (None, "fp32") else ""
    return f"{epochs} epochs{extra}" if epochs != 1 else f"1 epoch{extra}"
