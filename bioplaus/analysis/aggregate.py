"""Rules over the runs of several tasks: interquartile means and performance profiles.

Runs are put together only over tasks that all rules have in full: the block of rules and
tasks that is largest. Who is not in it is named, and keeps its place in the `Field`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from bioplaus.analysis.boards import Board
from bioplaus.analysis.field import Field
from bioplaus.analysis.over_runs import interquartile_mean, performance_profile
from bioplaus.analysis.statistics import Estimate, Floats

THRESHOLDS = tuple(i / 200 for i in range(201))
"""Accuracies at which profiles are taken."""


@dataclass(frozen=True)
class Runs:
    """All runs of one rule on the tasks of a block."""

    rule: str
    interquartile_mean: Estimate
    profile: tuple[Floats, Floats, Floats]
    """Share of runs above each of `THRESHOLDS`, and its bounds."""


@dataclass(frozen=True)
class Aggregate:
    """Rules that all have the same tasks in full, the best interquartile mean first."""

    boards: tuple[Board, ...]
    rules: tuple[Runs, ...]
    rules_left_out: tuple[str, ...]


def aggregate(whole: Field) -> Aggregate | None:
    """The aggregate over the largest block; None below two rules on two tasks.

    None for any metric but accuracy.
    """
    if whole.metric.name != "accuracy":
        return None  # profiles are over shares of right answers
    tasks = [board.task for board in whole.boards]
    coverage: dict[str, set[int]] = {}
    for i, board in enumerate(whole.boards):
        for cell in filter(board.complete, board.ranked):
            coverage.setdefault(cell.rule, set()).add(i)
    block = largest_block(coverage)
    if block is None:
        return None
    rules, columns = block
    made = []
    for rule in rules:
        scores = [list(whole.cells[rule][tasks[i]].scores().values()) for i in columns]
        middle = interquartile_mean(scores).within(whole.metric.least, whole.metric.most)
        made.append(Runs(rule, middle, performance_profile(scores, THRESHOLDS)))
    return Aggregate(
        boards=tuple(whole.boards[i] for i in columns),
        rules=tuple(sorted(made, key=lambda r: (-r.interquartile_mean.value, r.rule))),
        rules_left_out=tuple(sorted(whole.cells.keys() - set(rules))),
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
