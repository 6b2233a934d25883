"""Two rules side by side: on every board that both are on, how much one exceeds the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bioplaus.analysis.boards import Board, Cell, difference
from bioplaus.analysis.statistics import (
    LEVEL,
    Difference,
    Estimate,
    pooled_difference,
    probability_of_improvement,
)
from bioplaus.errors import RecordError, UnknownNameError


@dataclass(frozen=True)
class Contrast:
    """One cell against another on one board."""

    board: Board
    a: Cell
    b: Cell
    difference: Difference | None
    """Accuracy of a less that of b; None below two seeds on a side."""
    probability: Estimate | None
    """That a seed of a does better than a seed of b, ties counting half."""

    @property
    def verdict(self) -> str:
        """What follows, in words."""
        if self.difference is None:
            return "too few seeds: it takes two of each"
        return verdict(self.difference, self.a.short_name, self.b.short_name)

    @property
    def caveats(self) -> list[str]:
        """What to know of the seeds before believing it."""
        notes = []
        for cell in (self.a, self.b):
            if cell.diverged:
                count = f"{len(cell.diverged)} of {len(cell.records)}"
                notes.append(f"{cell.short_name}: {count} seeds diverged and count as accuracy 0")
            if cell.absent:
                notes.append(f"{cell.short_name}: incomplete, without seed {_listed(cell.absent)}")
        return notes

    def row(self) -> dict[str, Any]:
        """For programs: fractions, None where there is no number."""
        d, p = self.difference, self.probability
        return {
            "task": self.board.title,
            "rule": self.a.name,
            "other": self.b.name,
            "seeds": len(self.a.scores()),
            "other_seeds": len(self.b.scores()),
            "pairing": None if d is None else pairing(d),
            "difference": None if d is None else d.value,
            "difference_low": None if d is None else _known(d.low),
            "difference_high": None if d is None else _known(d.high),
            "p_value": None if d is None else d.p,
            "probability_of_improvement": None if p is None else p.value,
            "probability_low": None if p is None else p.low,
            "probability_high": None if p is None else p.high,
            "verdict": self.verdict,
            "caveats": "; ".join(self.caveats),
        }


def contrasts(boards: Sequence[Board], a: str, b: str) -> list[Contrast]:
    """`a` against `b` on every board that has both.

    Each is a rule, or a rule and its label as tables show them (`gaitprop ortho=0.05`).
    UnknownNameError for one without records, RecordError where no board has both.
    """
    known = {rule for board in boards for rule in board.entries}
    for name in (a, b):
        if not any(_find(board, name) for board in boards):
            raise UnknownNameError("rule in these results", name, known)
    found = []
    for board in boards:
        ours, theirs = _find(board, a), _find(board, b)
        if ours is not None and theirs is not None:
            found.append(_contrast(board, ours, theirs))
    if not found:
        raise RecordError(
            f"{a} and {b} have no records on the same task with the same data, epochs and "
            "precision; run both with one `bioplaus run`"
        )
    return found


def over_all(found: Sequence[Contrast]) -> Difference | None:
    """The mean difference over these tasks; None below two, or where one has no number."""
    known = [c.difference for c in found if c.difference is not None]
    return pooled_difference(known) if len(known) == len(found) > 1 else None


def verdict(d: Difference, a: str, b: str) -> str:
    """A difference in words, by its interval."""
    low, high = 100 * d.low, 100 * d.high
    if d.p < 1 - LEVEL:
        better, other = (a, b) if d.value > 0 else (b, a)
        least, most = sorted((abs(low), abs(high)))
        return f"{better} is better than {other}, by {least:.1f} to {most:.1f} points"
    if math.isnan(low):
        return "not separated: too few seeds, and no spread among them to judge by"
    return f"not separated: from {low:+.1f} to {high:+.1f} points"


def pairing(d: Difference) -> str:
    """How the seeds of both sides were set against each other."""
    return f"paired by seed ({round(d.df) + 1})" if d.paired else "unpaired (Welch)"


def _contrast(board: Board, a: Cell, b: Cell) -> Contrast:
    ours, theirs = a.scores(), b.scores()
    probability = (
        probability_of_improvement(list(ours.values()), list(theirs.values()))
        if min(len(ours), len(theirs)) > 1
        else None
    )
    return Contrast(board, a, b, difference(ours, theirs), probability)


def _find(board: Board, name: str) -> Cell | None:
    named = [cell for cell in board.cells if cell.label and cell.name == name]
    return board.entries.get(name) or (named[0] if named else None)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
