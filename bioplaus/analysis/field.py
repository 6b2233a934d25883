"""All rules over all tasks: each ranked within what it can train, and none left out.

Two rules are compared over the tasks that both are ranked on. A rule that trains on fewer
tasks has fewer comparisons to be told apart by, and so wider places.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

from bioplaus.analysis.boards import Board
from bioplaus.analysis.cells import Cell
from bioplaus.analysis.ranking import Comparison
from bioplaus.analysis.statistics import (
    LEVEL,
    Difference,
    holm,
    pooled_difference,
    rank_intervals,
)
from bioplaus.records.metric import ACCURACY, Metric


@dataclass(frozen=True)
class Joint:
    """One rule against another over the tasks that both have."""

    a: str
    b: str
    parts: tuple[Comparison, ...]
    """One for each of these tasks."""
    difference: Difference
    """The mean difference of scores over them."""
    adjusted: float
    """Its p-value after Holm's correction over all pairs of rules."""

    @property
    def ahead(self) -> str | None:
        """Which has the better score, as far as this pair alone can tell."""
        return self._ahead(self.difference.p)

    @property
    def better(self) -> str | None:
        """Which is ahead after the correction, and does not lose more seeds."""
        found = self._ahead(self.adjusted)
        lost = {
            self.a: math.fsum(c.a.diverged_share for c in self.parts),
            self.b: math.fsum(c.b.diverged_share for c in self.parts),
        }
        other = self.b if found == self.a else self.a
        return found if found is not None and lost[found] <= lost[other] else None

    def _ahead(self, p: float) -> str | None:
        if p >= 1 - LEVEL:
            return None
        return self.a if self.parts[0].a.metric.merit(self.difference.value) > 0 else self.b

    def turned(self) -> Joint:
        """The other against the one."""
        parts = tuple(c.turned() for c in self.parts)
        return replace(self, a=self.b, b=self.a, parts=parts, difference=self.difference.turned())


@dataclass(frozen=True)
class Overall:
    """One rule among all."""

    rule: str
    cells: Mapping[str, Cell]
    """Its ranked cells by task."""
    accuracy: float
    """Mean over these tasks; to be compared only where the tasks are the same."""
    lead: float
    """Mean over the others of how much it exceeds them on shared tasks: orders the rows."""
    first: int
    last: int
    leads: bool
    """Nothing is better over all tasks, and it is better than something."""


@dataclass(frozen=True)
class Field:
    """All rules over all tasks."""

    boards: tuple[Board, ...]
    """One for each task, all of one metric."""

    @property
    def metric(self) -> Metric:
        """What their cells are ranked by."""
        return self.boards[0].metric if self.boards else ACCURACY

    @cached_property
    def cells(self) -> dict[str, dict[str, Cell]]:
        """Of each rule its ranked cells, by task; rules without any are here too."""
        found: dict[str, dict[str, Cell]] = {
            rule: {} for board in self.boards for rule in board.entries
        }
        for board in self.boards:
            for cell in board.ranked:
                found[cell.rule][board.task] = cell
        return {rule: found[rule] for rule in sorted(found)}

    @cached_property
    def joints(self) -> dict[tuple[str, str], Joint]:
        """Every pair of rules with a task in common, both ways round."""
        made = [j for a, b in combinations(self.cells, 2) if (j := self._joint(a, b))]
        adjusted = holm([j.difference.p for j in made])
        whole = [replace(j, adjusted=p) for j, p in zip(made, adjusted, strict=True)]
        return {(j.a, j.b): j for one in whole for j in (one, one.turned())}

    def _joint(self, a: str, b: str) -> Joint | None:
        parts = tuple(
            board.compare(self.cells[a][board.task], self.cells[b][board.task])
            for board in self.boards
            if board.task in self.cells[a] and board.task in self.cells[b]
        )
        known = [c.difference for c in parts if c.difference is not None]
        return Joint(a, b, parts, pooled_difference(known), 1.0) if known else None

    @cached_property
    def standings(self) -> list[Overall]:
        """The rules with a place, the one that exceeds the others by most first."""
        rules = [rule for rule, cells in self.cells.items() if cells]
        leads = {rule: self._lead(rule, rules) for rule in rules}
        rules.sort(key=lambda r: (-leads[r], r))
        above = [[self._above(a, b) for b in rules] for a in rules]
        made = []
        for rule, (first, last) in zip(rules, rank_intervals(above), strict=True):
            means = [c.estimate.value for c in self.cells[rule].values() if c.estimate]
            made.append(Overall(
                rule, self.cells[rule], math.fsum(means) / len(means), leads[rule],
                first, last, leads=first == 1 and last < len(rules),
            ))  # fmt: skip
        return made

    def _above(self, a: str, b: str) -> bool:
        joint = self.joints.get((a, b))
        return joint is not None and joint.better == a

    def _lead(self, rule: str, rules: Sequence[str]) -> float:
        """With what a new seed can be expected to reach, so that losing seeds is no gain."""
        ours, leads = self.cells[rule], []
        for other in rules:
            shared = ours.keys() & self.cells[other].keys()
            if other != rule and shared:
                gaps = (ours[t].expected - self.cells[other][t].expected for t in sorted(shared))
                leads.append(math.fsum(gaps) / len(shared))
        return math.fsum(leads) / len(leads) if leads else 0.0


def field(boards: Sequence[Board]) -> Field:
    """Of several boards of one task the one with the most ranked rules.

    Points of one metric are not added to those of another: of several metrics the boards of
    the one that has the most of them are taken.
    """
    best: dict[str, Board] = {}
    count = Counter(board.metric for board in boards)
    first = max(count, key=lambda m: (count[m], m == ACCURACY), default=ACCURACY)
    for board in boards:
        if board.metric != first:
            continue
        kept = best.get(board.task)
        if kept is None or len(board.ranked) > len(kept.ranked):
            best[board.task] = board
    return Field(tuple(best[task] for task in sorted(best)))
