"""Where every rule stands against the reference, and the verdict in a sentence."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bioplaus.analysis.cells import Cell
from bioplaus.analysis.field import Field, Joint, Overall
from bioplaus.analysis.statistics import Difference
from bioplaus.records.metric import ACCURACY, Metric

from .cell_measures import cost, train_seconds
from .profiles import REFERENCE, Profile

COSTLY = 3.0
"""From so many times the reference's cost on, the verdict names it."""
NAMED = 3
"""Rules that a sentence names before it counts."""


@dataclass(frozen=True)
class Standings:
    """All that the first screen says."""

    reference: str | None
    """None where it has no place here."""
    placed: Sequence[Overall]
    to_reference: Mapping[str, Difference]
    """How much each rule exceeds the reference, over the tasks that both have."""
    adjusted: Mapping[str, float]
    better: Mapping[str, str | None]
    """Which of the two is surely better."""
    ahead: Mapping[str, str | None]
    """Which is ahead as far as the pair alone can tell."""
    losing: Mapping[str, float]
    """The share of its seeds that a rule lost, where that is more than the reference did."""
    cost: Mapping[str, float]
    """Times the reference's, over tasks that both have."""
    cost_of: str
    test_error: float | None
    """Standard error of an accuracy like the reference's on these test sets, of the mean."""
    metric: Metric = ACCURACY
    """What the differences are of."""

    def p_words(self, rule: str) -> str:
        """`< .001` or `.04`, after the correction."""
        p = self.adjusted[rule]
        return "< .001" if p < 0.001 else "1" if p > 0.995 else f"{p:.2g}".removeprefix("0")


def standings(whole: Field) -> Standings:
    """Every rule against the reference."""
    placed = whole.standings
    reference = REFERENCE if any(o.rule == REFERENCE for o in placed) else None
    others = [o.rule for o in placed if (o.rule, REFERENCE) in whole.joints and reference]
    joints = {rule: whole.joints[rule, REFERENCE] for rule in others}
    costs, cost_of = _costs(whole, others)
    errors = [
        c.estimate.value * (1 - c.estimate.value) / c.test_examples
        for c in (whole.cells[reference].values() if reference else ())
        if c.estimate and c.test_examples and c.metric.name == "accuracy"
    ]
    return Standings(
        reference, placed, {r: j.difference for r, j in joints.items()},
        {r: j.adjusted for r, j in joints.items()}, {r: j.better for r, j in joints.items()},
        {r: j.ahead for r, j in joints.items()},
        _losing(joints.values()), costs, cost_of,
        math.sqrt(math.fsum(errors)) / len(errors) if errors else None, whole.metric,
    )  # fmt: skip


def _losing(joints: Iterable[Joint]) -> dict[str, float]:
    found = {}
    for j in joints:
        ours, theirs = (statistics.fmean(getattr(c, side).diverged_share for c in j.parts)
                        for side in "ab")  # fmt: skip
        if ours > theirs:
            found[j.a] = ours
    return found


def _costs(whole: Field, others: Sequence[str]) -> tuple[dict[str, float], str]:
    """By operations where these are known, which no machine changes, or else by time."""

    def ratio(rule: str, measure) -> float | None:  # type: ignore[no-untyped-def]
        ours, theirs = whole.cells[rule], whole.cells[REFERENCE]
        parts = [(measure(ours[t]), measure(theirs[t])) for t in ours.keys() & theirs.keys()]
        logs = [math.log(a / b) for a, b in parts if a and b]
        return math.exp(statistics.fmean(logs)) if logs else None

    def operations(cell: Cell) -> float | None:
        return cost(cell, "forward_equivalents")

    for measure, words in ((operations, "operations of a step"), (train_seconds, "training time")):
        found = {r: x for r in others if (x := ratio(r, measure)) is not None}
        if found:
            return found, words
    return {}, ""


def verdict(found: Standings, profiles: Mapping[str, Profile], tasks: Sequence[str]) -> str:
    """One sentence, or two, that the numbers bear out; no control is announced as a winner."""
    where = f"On {tasks[0] if len(tasks) == 1 else f'these {len(tasks)} tasks'}"
    ref = found.reference
    if ref is None or not found.to_reference:
        leads = [o.rule for o in found.placed if o.leads]
        if not leads:
            return f"{where} these seeds separate no rule from all others."
        return f"{where} nothing beats {listed(leads)}."
    candidates = [r for r in found.to_reference if profiles[r].badge != "control"]
    above = [r for r in candidates if found.better[r] == r]
    # whom the pair alone finds behind is not called level, though the correction lets it be
    level = [r for r in candidates if found.ahead[r] is None and r not in found.losing]
    level.sort(key=lambda r: (profiles[r].badge != "plausible", -found.to_reference[r].value, r))
    below = [r for r in candidates if found.ahead[r] == ref]
    if above:
        start = f"{where} {listed(above)} beat{'s' if len(above) == 1 else ''} {ref}"
    else:
        start = f"{where} nothing beats {ref}"
    parts = [start]
    if level:
        be = "is" if len(level) == 1 else "are"
        parts.append(f"{listed(level)} {be} not separated from it")
    elif below and not above:
        parts.append("every other rule is behind it")
    lossy = [r for r in candidates if r in found.losing]
    if lossy:
        share = max(found.losing[r] for r in lossy)
        verb = "loses" if len(lossy) == 1 else "lose up to"
        parts.append(f"{listed(lossy)} {verb} {100 * share:.0f} % of the seeds")
    costly = sorted(((c, r) for r, c in found.cost.items() if c >= COSTLY and r in candidates),
                    reverse=True)  # fmt: skip
    if costly:
        parts.append(f"{costly[0][1]} costs {times(costly[0][0])}")
    return "; ".join(parts) + "."


def times(ratio: float) -> str:
    """A ratio as a multiple."""
    return f"{ratio:.2g}\u00d7" if ratio < 9.5 else f"{ratio:.0f}\u00d7"


def listed(names: Sequence[str]) -> str:
    """The first few, and how many more."""
    shown = list(names[:NAMED])
    if len(names) > NAMED + 1:
        return f"{', '.join(shown)} and {len(names) - NAMED} more"
    shown = list(names)
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
