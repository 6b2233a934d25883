"""Two rules side by side: on every board that both are on, how much one exceeds the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bioplaus.analysis.boards import Board
from bioplaus.analysis.cells import Cell
from bioplaus.analysis.field import Joint, field
from bioplaus.analysis.ranking import Comparison
from bioplaus.analysis.statistics import (
    LEVEL,
    Difference,
    Estimate,
    probability_of_improvement,
)
from bioplaus.errors import RecordError, UnknownNameError, shown
from bioplaus.records.metric import Metric


@dataclass(frozen=True)
class Contrast:
    """One cell against another on one board."""

    board: Board
    comparison: Comparison
    probability: Estimate | None
    """That a seed of a does better than a seed of b, ties counting half."""

    @property
    def a(self) -> Cell:
        """The first."""
        return self.comparison.a

    @property
    def b(self) -> Cell:
        """The second."""
        return self.comparison.b

    @property
    def difference(self) -> Difference | None:
        """Score of a less that of b; None below two seeds that lived on a side."""
        return self.comparison.difference

    @property
    def verdict(self) -> str:
        """What follows, in words."""
        return verdict(self.comparison)

    @property
    def caveats(self) -> list[str]:
        """What to know of the seeds before believing it."""
        notes = []
        for cell in (self.a, self.b):
            if cell.diverged:
                count = f"{len(cell.diverged)} of {len(cell.records)}"
                notes.append(f"{cell.short_name}: {count} seeds diverged and are not in the mean")
            if cell.why_not_ranked:
                notes.append(f"{cell.short_name}: {cell.why_not_ranked}")
        if self.a.diverged or self.b.diverged:
            p = self.comparison.divergence_p
            notes.append(f"that one diverges more often than the other: p = {p:.2g} (Fisher)")
        if self.comparison.within_test_error and self.comparison.test_error:
            error, n = 100 * self.comparison.test_error, self.a.test_examples
            notes.append(f"the gap is smaller than the standard error of an accuracy on {n:,} "
                         f"test examples, {error:.1f} points: others might turn it")  # fmt: skip
        if self.a.budget != self.b.budget:
            notes.append(f"{self.a.short_name} is {self.a.origin}, {self.b.short_name} "
                         f"{self.b.origin}: not an equal chance")  # fmt: skip
        return notes

    def row(self) -> dict[str, Any]:
        """For programs: fractions, None where there is no number."""
        c, p = self.comparison, self.probability
        return {
            "task": self.board.title,
            "metric": self.board.metric.name,
            "rule": self.a.name,
            "other": self.b.name,
            "seeds": len(self.a.scores()),
            "other_seeds": len(self.b.scores()),
            "diverged": len(self.a.diverged),
            "other_diverged": len(self.b.diverged),
            "divergence_p_value": c.divergence_p,
            **_numbers(c.difference, c.adjusted),
            "probability_of_improvement": None if p is None else p.value,
            "probability_low": None if p is None else p.low,
            "probability_high": None if p is None else p.high,
            "verdict": self.verdict,
            "caveats": "; ".join(self.caveats),
        }


def joint_row(joint: Joint) -> dict[str, Any]:
    """The row of all tasks together, with the columns of `Contrast.row`."""
    numbers = _numbers(joint.difference, joint.adjusted)
    counts = {
        "diverged": sum(len(c.a.diverged) for c in joint.parts),
        "other_diverged": sum(len(c.b.diverged) for c in joint.parts),
        "seeds": sum(len(c.a.scores()) for c in joint.parts),
        "other_seeds": sum(len(c.b.scores()) for c in joint.parts),
    }
    said = joint_verdict(joint)
    return {"task": "mean of these", "rule": joint.a, "other": joint.b, **counts, **numbers,
            "verdict": said}  # fmt: skip


def _numbers(d: Difference | None, adjusted: float | None) -> dict[str, Any]:
    return {
        "pairing": None if d is None else pairing(d),
        "difference": None if d is None else d.value,
        "difference_low": None if d is None else _known(d.low),
        "difference_high": None if d is None else _known(d.high),
        "p_value": None if d is None else d.p,
        "p_value_adjusted": adjusted,
    }


def contrasts(boards: Sequence[Board], a: str, b: str) -> list[Contrast]:
    """`a` against `b` on every board that has both.

    Each is a rule, or a rule and its label as tables show them (`gaitprop ortho=0.05`). Where
    no board has both, those that differ in the tuning budget alone are compared, and it is said.
    UnknownNameError for one without records, RecordError where nothing can be compared.
    """
    known = {rule for board in boards for rule in board.entries}
    for name in (a, b):
        if not any(_find(board, name) for board in boards):
            hint = "" if known else f"; `bioplaus run --rule {shown(name)}` makes some"
            raise UnknownNameError("rule in these results", name, known, hint)
    pairs = [(x, x) for x in boards]
    pairs += [(x, y) for x in boards for y in boards if x is not y and x.task == y.task
              and x.conditions == y.conditions]  # fmt: skip
    found: list[Contrast] = []
    for ours, theirs in pairs:
        one, other = _find(ours, a), _find(theirs, b)
        if ours is not theirs and any(
            c.board.task == ours.task and c.board.conditions == ours.conditions for c in found
        ):
            continue
        if one is not None and other is not None:
            found.append(_contrast(ours, one, other))
    if not found:
        raise RecordError(
            f"{a} and {b} have no records on the same task with the same data, epochs and "
            "precision; run both with one `bioplaus run`"
        )
    return sorted(found, key=lambda c: c.board.title)


def over_all(boards: Sequence[Board], found: Sequence[Contrast]) -> Joint | None:
    """The two over all tasks of these boards, as the overview has them.

    None below two tasks, or where another configuration than a rule's entry is compared.
    """
    if len(found) < 2 or any(c.comparison.adjusted is None for c in found):
        return None
    joint = field(boards).joints.get((found[0].a.rule, found[0].b.rule))
    return joint if joint is not None and len(joint.parts) > 1 else None


def rows(boards: Sequence[Board], found: Sequence[Contrast]) -> list[dict[str, Any]]:
    """For programs: one row for each task, and one for all together where there are several."""
    made, whole = [c.row() for c in found], over_all(boards, found)
    return made + ([] if whole is None else [dict.fromkeys(made[0]) | joint_row(whole)])


def verdict(c: Comparison) -> str:
    """A comparison in words: after the correction, or else alone, or else not separated."""
    if c.difference is None:
        return "too few seeds: it takes two of each that lived"
    names = {id(c.a): c.a.short_name, id(c.b): c.b.short_name}
    if c.better is not None:
        other = c.b if c.better is c.a else c.a
        return _better(names[id(c.better)], names[id(other)], c.difference, c.a.metric)
    if c.ahead is not None:
        other = c.b if c.ahead is c.a else c.a
        said = _better(names[id(c.ahead)], names[id(other)], c.difference, c.a.metric)
        if c.adjusted is None:
            return f"{said}; taken alone (p {_p(c.difference.p)}), not ranked on a board"
        if c.adjusted < 1 - LEVEL:
            return f"{said}, of the seeds that lived; it diverges more often, so it is not above"
        return (f"not separated on this board (adjusted p {_p(c.adjusted)}); taken alone {said} "
                f"(p {_p(c.difference.p)})")  # fmt: skip
    return _not_separated(c.difference, c.a.metric)


def joint_verdict(joint: Joint) -> str:
    """The same over all tasks."""
    d, metric = joint.difference, joint.parts[0].a.metric
    if joint.better is not None:
        return _better(joint.better, joint.b if joint.better == joint.a else joint.a, d, metric)
    if joint.ahead is not None:
        said = _better(joint.ahead, joint.b if joint.ahead == joint.a else joint.a, d, metric)
        if joint.adjusted < 1 - LEVEL:
            return f"{said}, of the seeds that lived; it diverges more often, so it is not above"
        return (f"not separated among all rules (adjusted p {_p(joint.adjusted)}); taken alone "
                f"{said} (p {_p(d.p)})")  # fmt: skip
    return _not_separated(d, metric)


def _better(one: str, other: str, d: Difference, metric: Metric) -> str:
    least, most = (metric.shown(v, 1) for v in sorted((abs(d.low), abs(d.high))))
    return f"{one} is better than {other}, by {least} to {most} {metric.steps}"


def _not_separated(d: Difference, metric: Metric) -> str:
    if math.isnan(d.low):
        return "not separated: too few seeds, and no spread among them to judge by"
    if d.low == d.high == d.value == 0:
        return "not separated: the same results"
    low, high = metric.signed(d.low, 1), metric.signed(d.high, 1)
    return f"not separated: from {low} to {high} {metric.steps}"


def _p(value: float) -> str:
    """`= 0.03`, or `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def pairing(d: Difference) -> str:
    """How the seeds of both sides were set against each other."""
    return f"paired by seed ({round(d.df) + 1})" if d.paired else "unpaired (Welch)"


def _contrast(board: Board, a: Cell, b: Cell) -> Contrast:
    ours, theirs = a.merits(), b.merits()
    enough = min(len(ours), len(theirs)) > 1
    probability = probability_of_improvement(ours, theirs) if enough else None
    return Contrast(board, board.compare(a, b), probability)


def _find(board: Board, name: str) -> Cell | None:
    named = [cell for cell in board.cells if cell.label and cell.name == name]
    return board.entries.get(name) or (named[0] if named else None)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
