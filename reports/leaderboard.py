"""The leaderboard of one task: every rule with its place, accuracy, cost and command."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import numpy as np

from bioplaus.analysis.boards import Board, in_words
from bioplaus.analysis.cells import Cell, mean_validation
from bioplaus.analysis.ranking import Standing
from bioplaus.errors import printable
from bioplaus.learning.profile import Published
from bioplaus.records.metric import ACCURACY, Metric
from bioplaus.records.schema import Tuning

from .cell_measures import (
    MISSING,
    command,
    cost,
    final_alignment,
    final_metric,
    hidden_alignment,
    layers,
    steps_to,
    train_seconds,
)
from .html_tables import (
    Column,
    Line,
    Table,
    TableCell,
    anchor,
    number,
    places,
    scaled,
    score,
    scored,
    slug,
    tuning_anchor,
)
from .profiles import card_of

OWN = [
    Column("Residual", "how far from rest the activities stopped in the last epoch: 0 at rest, "
           "about 1 where all is missing", out=("residual",)),
    Column("Feedback", "cosine of feedback weights with the forward ones in the last epoch, in "
           "the worst layer", out=("feedback_alignment",)),
]  # fmt: skip
"""What some rules record of themselves."""
IN_SPIKES = [
    Column("Spikes", "of an inference, the input's included: mean over the test split",
           out=("spikes",)),
    Column("Syn. ops", "synaptic operations of an inference, each spike times the weights that it "
           "reaches: mean over the test split", out=("synaptic_operations",)),
]  # fmt: skip
"""What networks of spiking units cost."""
IN_TURN = [
    Column("Backward (%)", "backward transfer: what the accuracy on an earlier experience has "
           "changed by since; below 0 it was forgotten", out=("backward_transfer",)),
    Column("Forgetting (%)", "how far the accuracy on an earlier experience lies below the best "
           "that it had after one since", out=("forgetting",)),
]  # fmt: skip
"""What is lost of experiences that were learned in turn."""
FAR = 0.1
"""A residual above it is marked, as `bioplaus check` does."""

COLUMNS = [
    Column("Rank", "the places that it may have, all rules at once with 95 %",
           out=("rank_first", "rank_last")),
    Column("Rule", "and what differs from its defaults", number=False, out=("rule", "remark")),
    Column("Test accuracy (%)", "mean over the seeds that lived and its 95 % interval, drawn to "
           "one scale; an arrow: it lies beyond",
           out=("test_accuracy", "test_accuracy_low", "test_accuracy_high")),
    Column("Diverged", "seeds that diverged, of all", out=("diverged", "seeds")),
    Column("Alignment", "cosine with the loss gradient after the last epoch, layer by layer; the "
           "number is over the layers below the top", out=("alignment",)),
    *IN_TURN,
    *OWN,
    Column("Steps", "optimizer steps to the target on the validation split, median over seeds",
           out=("steps_median", "steps_reached")),
    Column("Time (s)", "training time of a seed: its share of the seeds that trained together",
           out=("train_seconds",)),
    Column("Cost", "of a step, in forward passes of the same batch", out=("forward_equivalents",)),
    Column("MiB", "peak memory of training, all seeds together; counted where not measured",
           out=("peak_mib",)),
    *IN_SPIKES,
    Column("Validation (%)", "mean over the seeds that lived", out=("validation_accuracy",)),
    Column("Published (%)", "in the literature; often another network, see Published results",
           out=("published",)),
    Column("Settings", "who chose them: the trials of a tuning, defaults, or by hand",
           number=False, out=("tuning",)),
    Column("Again", "the command for this row, and how many of its seeds somebody ran again with "
           "the same result (bioplaus verify)", number=False, out=("command", "reproduced")),
]  # fmt: skip


def target(board: Board) -> float | None:
    """95 % of the best mean validation score, in whole percents: what `Steps` counts up to.

    Where lower is better, the best and a twentieth.
    """
    scores = [c.scores("validation") for c in board.ranked]
    means = [mean_validation(list(s.values())) for s in scores if s]
    if board.metric.lower_is_better:
        return min(means) * 1.05 if means else None
    best = max(means, default=0.0)
    return math.floor(95 * best) / 100 if best > 0 else None


def board_table(board: Board, index: int) -> Table:
    """A board's rules, ranked, then the configurations that are not."""
    standings = {s.cell.digest + s.cell.rule: s for s in board.standings}
    ranked = [s.cell for s in board.standings]
    others = [c for c in board.cells if c.digest + c.rule not in standings]
    others.sort(key=lambda c: (board.entries[c.rule] is not c, c.rule, c.label, c.digest))
    bounds = _scale(board)
    lines = []
    for cell in [*ranked, *others]:
        standing = standings.get(cell.digest + cell.rule)
        place = f"{slug(board.title)}--{cell.rule}" if board.entries[cell.rule] is cell else ""
        entries = _board_line(board, cell, standing, bounds)
        lines.append(Line(entries, quiet=standing is None, id=place))
    kept = [
        i for i in range(len(COLUMNS)) if any(line.entries[i].text != MISSING for line in lines)
    ]
    kept_lines = [replace(line, entries=[line.entries[i] for i in kept]) for line in lines]
    shown = [line for line in kept_lines if not line.quiet]
    name = f"Leaderboard of {printable(board.title)}"
    columns = [_named(COLUMNS[i], board.metric) for i in kept]
    return Table(f"board-{index}-table", name, columns, shown,
                 [line for line in kept_lines if line.quiet])  # fmt: skip


def unmeasured(table: Table, metric: Metric = ACCURACY) -> list[str]:
    """Columns that the table is without, for want of a single value; not what few rules have."""
    there = {c.name for c in table.columns}
    names = [_named(c, metric).name for c in COLUMNS if c not in OWN + IN_SPIKES + IN_TURN]
    return [name.partition(" (")[0].lower() for name in names if name not in there]


def _named(column: Column, metric: Metric) -> Column:
    """The column under the name of the board's metric, in page and download."""
    if metric == ACCURACY or not {"test_accuracy", "validation_accuracy"} & set(column.out):
        return column
    part = "Test" if "test_accuracy" in column.out else "Validation"
    out = tuple(name.replace("accuracy", metric.name) for name in column.out)
    return replace(column, name=f"{part} {metric.heading}", out=out)


def _board_line(
    board: Board, cell: Cell, standing: Standing | None, bounds: tuple[float, float]
) -> list[TableCell]:
    return [
        TableCell(MISSING) if standing is None else places(standing.first, standing.last),
        TableCell(cell.rule, note=(note := _remark(board, cell, standing)), link=anchor(cell),
                  out=(cell.rule, note)),
        score(cell.estimate, bounds, board.metric),
        seeds_entry(board, cell),
        _alignment(cell),
        _in_turn(cell, "test_backward_transfer"),
        _in_turn(cell, "test_forgetting"),
        _residual(cell),
        number(final_metric(cell, "feedback_alignment")),
        _steps(board, cell),
        number(train_seconds(cell)),
        number(cost(cell, "forward_equivalents")),
        _memory(cell),
        number(final_metric(cell, "test_spikes")),
        number(final_metric(cell, "test_synaptic_operations")),
        scored(_mean_validation(cell), board.metric),
        _published(cell, board.task),
        _tuned(cell),
        _again(cell),
    ]  # fmt: skip


def _in_turn(cell: Cell, name: str) -> TableCell:
    """A difference of accuracies, in points."""
    value = final_metric(cell, name)
    return TableCell(MISSING) if value is None else TableCell(f"{100 * value:z.2f}", value)


def _remark(board: Board, cell: Cell, standing: Standing | None) -> str:
    """The options, and why there is no rank."""
    why = board.why_not_ranked(cell)
    return printable("; ".join(filter(None, (cell.own_label, why))))


def _scale(board: Board) -> tuple[float, float]:
    """The span of the ranked rules' intervals, without what lies far below the middle one."""
    found = [s.cell.estimate for s in board.standings if s.cell.estimate]
    if not found:
        return 0.0, 1.0
    metric = board.metric
    lows, highs = [min(e.low for e in found)], [max(e.high for e in found)]
    middle = statistics.median(e.value for e in found)
    if metric.lower_is_better:
        low = max(metric.least, *lows)
        return low, min(metric.most, *highs, low + 3 * (middle - low))
    top = min(metric.most, *highs)
    return max(metric.least, *lows, top - 3 * (top - middle)), top


def seeds_entry(board: Board, cell: Cell) -> TableCell:
    """How many seeds diverged, of how many; what is missing."""
    there, lost = len(cell.records), len(cell.diverged)
    note = f"incomplete, {there + len(cell.absent)} trained" if cell.absent else ""
    if not note and there < board.seeds and board.entries[cell.rule] is cell:
        note = f"others have {board.seeds}"
    return TableCell(f"{lost} of {there}", sort=cell.diverged_share, note=note, out=(lost, there))


def _mean_validation(cell: Cell) -> float | None:
    scores = cell.scores("validation")
    if all(cell.metric.score(r, "validation") is None for r in cell.records):
        return None
    return math.fsum(scores.values()) / len(scores) if scores else None


def _published(cell: Cell, task: str) -> TableCell:
    """Numbers for the data set that the task's name begins with."""
    card = card_of([cell])
    dataset = cell.configuration.get("task", {})
    name = str(dataset.get("dataset", task)) if isinstance(dataset, dict) else task
    found = [p for p in (card.published if card else []) if _concerns(p, task, name)]
    if not found:
        return TableCell(MISSING)
    notes = "; ".join(printable(f"{p.metric}. {p.note} ({p.source})") for p in found)
    values = ", ".join(f"{100 * p.value:.2f}" for p in found)
    return TableCell(values, sort=found[0].value, note="see note", title=notes)


def _concerns(p: Published, task: str, dataset: str) -> bool:
    words = p.metric.lower().split()
    return 0 <= p.value <= 1 and bool({task.lower(), dataset.lower()} & set(words))


def _steps(board: Board, cell: Cell) -> TableCell:
    goal = target(board)
    curves = [board.metric.curve(r, "validation") for r in cell.records]
    once = all(sum(v is not None for v in c) < 2 < len(c) for c in curves)
    if goal is None or once:  # a probe is read after the last epoch alone
        return TableCell(MISSING)
    found = steps_to(cell, goal)
    if math.isnan(found.median):
        return TableCell(MISSING)
    some = "" if found.reached == found.seeds else f"{found.reached} of {found.seeds} seeds"
    if math.isinf(found.median):
        return TableCell("not reached", math.inf, some if found.reached else "",
                         out=(None, found.reached))  # fmt: skip
    return TableCell(f"{found.median:,.0f}", found.median, some,
                     out=(found.median, found.reached))  # fmt: skip


def _memory(cell: Cell) -> TableCell:
    entry = number(scaled(cost(cell, "peak_bytes"), 2.0**-20))
    counted = any(r.cost is not None and not r.cost.peak_measured for r in cell.records)
    return replace(entry, note="counted") if counted and entry.text != MISSING else entry


def _alignment(cell: Cell) -> TableCell:
    values, mean = np.nan_to_num(final_alignment(cell).mean), hidden_alignment(cell.records)
    if mean is None:
        return TableCell(MISSING)
    each = ", ".join(f"{n}: {v:.2f}" for n, v in zip(layers(cell.records), values, strict=True))
    return TableCell(f"{mean:.2f}", mean, title=f"layer {printable(each)}", kind="bars",
                 data=tuple(float(f"{v:.3f}") for v in values))  # fmt: skip


def _residual(cell: Cell) -> TableCell:
    found = final_metric(cell, "residual")
    entry = number(found)
    return replace(entry, note="far from rest") if found is not None and found > FAR else entry


def _tuned(cell: Cell) -> TableCell:
    if cell.tuning is None:
        return TableCell(cell.origin)
    return TableCell("tuned", title=budget(cell.tuning), link=tuning_anchor(cell.tuning),
                     out=(budget(cell.tuning),))  # fmt: skip


def _again(cell: Cell) -> TableCell:
    done = len(cell.reproduced)
    note = f"reproduced: {done} of {len(cell.records)}" if done else ""
    return TableCell("command", note=note, title=printable("; ".join(sorted(set(cell.reproduced)))),
                     kind="command", link=anchor(cell), out=(command(cell), done))  # fmt: skip


def budget(tuning: Tuning) -> str:
    """A tuning's budget in words."""
    return in_words(tuning.budget)


def leaders(board: Board) -> list[str]:
    """The rules that nothing is better than, the best score first."""
    return [s.cell.rule for s in board.standings if s.first == 1]
