"""Rules over several tasks: mean accuracy, interquartile mean, ranks and profiles.

An aggregate is fair over tasks that all of its rules have in full; it takes the block of
rules and tasks that is largest, and says which rules are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bioplaus.analysis.boards import Board, Cell, difference
from bioplaus.analysis.statistics import (
    Difference,
    Estimate,
    Floats,
    interquartile_mean,
    performance_profile,
    pooled_difference,
    tie_groups,
)

THRESHOLDS = tuple(i / 200 for i in range(201))
"""Accuracies at which profiles are taken."""


@dataclass(frozen=True)
class Overall:
    """One rule over all tasks of a block."""

    rule: str
    accuracy: float
    """Mean over tasks of the mean over seeds."""
    interquartile_mean: Estimate
    mean_rank: float
    group: int
    """Tie group by mean accuracy over these tasks."""
    first: int
    last: int
    profile: tuple[Floats, Floats, Floats]
    """Share of runs above each of `THRESHOLDS`, and its bounds."""


@dataclass(frozen=True)
class Aggregate:
    """Rules that all have the same tasks in full, best first."""

    boards: tuple[Board, ...]
    rules: tuple[Overall, ...]
    rules_left_out: tuple[str, ...]


def aggregate(boards: Sequence[Board]) -> Aggregate | None:
    """The aggregate over the largest block; None below two rules on two tasks."""
    chosen = _one_for_each_task(boards)
    coverage: dict[str, set[int]] = {}
    for i, board in enumerate(chosen):
        for standing in board.standings:
            if board.complete(standing.cell):
                coverage.setdefault(standing.cell.rule, set()).add(i)
    block = largest_block(coverage)
    if block is None:
        return None
    rules, columns = block
    kept = [chosen[i] for i in columns]
    names = {rule for board in boards for rule in board.entries}
    return Aggregate(
        boards=tuple(kept),
        rules=tuple(_overall(rules, kept)),
        rules_left_out=tuple(sorted(names - set(rules))),
    )


def largest_block(coverage: Mapping[str, set[int]]) -> tuple[list[str], list[int]] | None:
    """The rules and tasks, all measured, with the most pairs; None below two of either."""
    wanted = {frozenset(tasks) for tasks in coverage.values()}
    wanted |= {a & b for a, b in combinations(sorted(wanted, key=sorted), 2)}
    found = []
    for tasks in wanted:
        rules = sorted(rule for rule, has in coverage.items() if has >= tasks)
        if len(tasks) > 1 and len(rules) > 1:
            found.append((-len(tasks) * len(rules), -len(tasks), sorted(tasks), rules))
    if not found:
        return None
    *_, columns, rules = min(found)
    return rules, columns


def _one_for_each_task(boards: Sequence[Board]) -> list[Board]:
    """Of boards of one task, the one with the most rules in tie groups."""
    best: dict[str, Board] = {}
    for board in boards:
        kept = best.get(board.task)
        if kept is None or len(board.standings) > len(kept.standings):
            best[board.task] = board
    return [best[task] for task in sorted(best)]


def pooled(a: Sequence[Cell], b: Sequence[Cell]) -> Difference | None:
    """How much rule a exceeds rule b on average over tasks, one cell for each."""
    parts = [difference(x.scores(), y.scores()) for x, y in zip(a, b, strict=True)]
    known = [d for d in parts if d is not None]
    return pooled_difference(known) if len(known) == len(parts) and known else None


def _overall(rules: Sequence[str], boards: Sequence[Board]) -> list[Overall]:
    cells = {rule: [b.entries[rule] for b in boards] for rule in rules}
    scores = {r: [np.array(list(c.scores().values())) for c in cells[r]] for r in rules}
    means = {r: math.fsum(c.estimate.value for c in cells[r] if c.estimate) for r in rules}
    means = {r: total / len(boards) for r, total in means.items()}
    ordered = sorted(rules, key=lambda r: (-means[r], r))

    def p_value(i: int, j: int) -> float:
        found = pooled(cells[ordered[i]], cells[ordered[j]])
        return 1.0 if found is None else found.p

    groups = tie_groups([means[r] for r in ordered], p_value)
    ranks = {r: _ranks(r, boards, rules) for r in rules}
    made = [
        Overall(
            rule=rule,
            accuracy=means[rule],
            interquartile_mean=interquartile_mean(scores[rule]),
            mean_rank=sum(ranks[rule]) / len(boards),
            group=group,
            first=1 + sum(g < group for g in groups),
            last=sum(g <= group for g in groups),
            profile=performance_profile(scores[rule], THRESHOLDS),
        )
        for rule, group in zip(ordered, groups, strict=True)
    ]
    return sorted(made, key=lambda o: o.group)


def _ranks(rule: str, boards: Sequence[Board], rules: Sequence[str]) -> list[float]:
    """Its rank on each board among these rules alone; a tie group shares its middle."""
    ranks = []
    for board in boards:
        group = {s.cell.rule: s.group for s in board.standings if s.cell.rule in rules}
        above = sum(g < group[rule] for g in group.values())
        tied = sum(g == group[rule] for g in group.values())
        ranks.append(above + (1 + tied) / 2)
    return ranks
