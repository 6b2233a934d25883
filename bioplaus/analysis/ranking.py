"""Which of two cells is better, and what places that leaves: the one function that decides.

Boards, `compare` and the page all read the comparisons made here, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from bioplaus.analysis.cells import Cell, sort_key
from bioplaus.analysis.statistics import (
    LEVEL,
    Difference,
    accuracy_error,
    holm,
    paired_difference,
    rank_intervals,
    rate_difference_p,
    welch_difference,
)

PAIRED_FROM = 10
"""Seeds are paired where both sides have the same, and at least so many.

Pairing halves the degrees of freedom. At five seeds that pays only where the seeds of two
rules correlate above .31, at ten above .14; measured on the digits: .03 and .12. The rule
looks at the number of seeds alone, never at the scores.
"""


@dataclass(frozen=True)
class Comparison:
    """One cell against another."""

    a: Cell
    b: Cell
    difference: Difference | None
    """Score of a less that of b, of seeds that lived; None below two on a side."""
    adjusted: float | None
    """The difference's p-value after Holm's correction over all pairs of the board; None
    where the pair is not one of those that a board ranks."""
    divergence_p: float
    """Fisher's exact p-value that both diverge equally often."""

    @property
    def ahead(self) -> Cell | None:
        """Which has the better score, as far as this pair alone can tell."""
        return self._ahead(None if self.difference is None else self.difference.p)

    @property
    def better(self) -> Cell | None:
        """Which is ahead after the correction: what places rest on.

        Never one that diverged in a larger share of its seeds: the score of those that
        lived is not what a new seed gets.
        """
        found = self._ahead(self.adjusted)
        if found is None:
            return None
        other = self.b if found is self.a else self.a
        return found if found.diverged_share <= other.diverged_share else None

    def _ahead(self, p: float | None) -> Cell | None:
        if self.difference is None or p is None or p >= 1 - LEVEL:
            return None
        return self.a if self.a.metric.merit(self.difference.value) > 0 else self.b

    @property
    def test_error(self) -> float | None:
        """Standard error of such an accuracy on that many test examples; None where unknown,
        and for another metric."""
        if self.a.metric.name != "accuracy":
            return None
        n, a, b = self.a.test_examples, self.a.estimate, self.b.estimate
        return accuracy_error((a.value + b.value) / 2, n) if n and a and b else None

    @property
    def within_test_error(self) -> bool:
        """Whether the gap is smaller than that: other test examples might turn it around."""
        error = self.test_error
        return bool(self.difference and error and abs(self.difference.value) < error)

    def turned(self) -> Comparison:
        """The other against the one."""
        turned = None if self.difference is None else self.difference.turned()
        return replace(self, a=self.b, b=self.a, difference=turned)


@dataclass(frozen=True)
class Standing:
    """A cell's place on its board."""

    cell: Cell
    first: int
    last: int
    """The places that it may have, those of all rules at once with 95 %."""
    leads: bool
    """Nothing is better, and it is better than something."""


def compare_cells(a: Cell, b: Cell) -> Comparison:
    """The pair alone, without a correction."""
    rate = rate_difference_p(len(a.diverged), len(a.records), len(b.diverged), len(b.records))
    return Comparison(a, b, difference(a.scores(), b.scores()), None, rate)


def difference(a: Mapping[int, float], b: Mapping[int, float]) -> Difference | None:
    """How much the scores of a exceed those of b; None below two scores on a side.

    Always the difference of the two means: paired by seed after `PAIRED_FROM`, or Welch's.
    """
    if min(len(a), len(b)) < 2:
        return None
    if a.keys() == b.keys() and len(a) >= PAIRED_FROM:
        seeds = sorted(a)
        return paired_difference([a[s] for s in seeds], [b[s] for s in seeds])
    return welch_difference(list(a.values()), list(b.values()))


def compare_all(group: Sequence[Cell]) -> list[Comparison]:
    """Every pair of these, with Holm's correction over all of them."""
    pairs = [compare_cells(a, b) for a, b in combinations(sorted(group, key=sort_key), 2)]
    adjusted = holm([1.0 if c.difference is None else c.difference.p for c in pairs])
    return [replace(c, adjusted=p) for c, p in zip(pairs, adjusted, strict=True)]


def rank_cells(group: Sequence[Cell], found: Sequence[Comparison]) -> list[Standing]:
    """Their places from all comparisons between them; the best rows first.

    A cell that lost seeds stands where its accuracy times the share that lived does.
    """
    ordered = sorted(group, key=lambda c: (-c.expected, *sort_key(c)))
    better = {(id(c.better), id(c.a if c.better is c.b else c.b)) for c in found if c.better}
    above = [[(id(a), id(b)) in better for b in ordered] for a in ordered]
    places = rank_intervals(above)
    return [
        Standing(cell, first, last, leads=first == 1 and last < len(ordered))
        for cell, (first, last) in zip(ordered, places, strict=True)
    ]
