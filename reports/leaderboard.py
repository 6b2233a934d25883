"""The leaderboard of one task: every rule with its place, accuracy, cost and command."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from bioplaus.analysis.boards import Board, Cell, Standing
from bioplaus.learning.profile import Published
from bioplaus.records.schema import RuleCard, Tuning

from .cell_measures import (
    MISSING,
    command,
    cost,
    final_alignment,
    layers,
    plain,
    steps_to,
    train_seconds,
)
from .html_tables import (
    Column,
    Line,
    Table,
    TableCell,
    accuracy,
    anchor,
    count,
    number,
    percent,
    places,
    scaled,
    tuning_anchor,
)

COLUMNS = [
    Column("Rank", "the places that the rule's tie group takes"),
    Column("Rule", "and what differs from its defaults", number=False),
    Column("Test accuracy (%)", "mean over seeds and its 95 % interval, drawn to one scale; "
           "what lies far below is at the left end"),
    Column("Seeds", "records there are, of those there should be; diverged ones count as 0 %"),
    Column("Alignment", "cosine with the loss gradient after the last epoch, layer by layer"),
    Column("Steps", "optimizer steps to the target accuracy, median over seeds"),
    Column("Time (s)", "training time of a seed: its share of the seeds that trained together"),
    Column("Cost", "of a step, in forward passes of the same batch"),
    Column("Memory (MiB)", "peak of training, all seeds together; counted where not measured"),
    Column("Validation (%)", "mean over seeds; a diverged one counts 0 %"),
    Column("Published (%)", "in the literature; often another network, see Published results"),
    Column("Tuning", "budget behind this configuration", number=False),
    Column("Run it again", "the command for this row", number=False),
]  # fmt: skip


def target(board: Board) -> float | None:
    """95 % of the best mean test accuracy, in whole percents: what `Steps` counts up to."""
    means = [c.estimate.value for c in board.entries.values() if c.estimate]
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
        lines.append(Line(_board_line(board, cell, standing, bounds), quiet=standing is None))
    kept = [
        i for i in range(len(COLUMNS)) if any(line.entries[i].text != MISSING for line in lines)
    ]
    kept_lines = [Line([line.entries[i] for i in kept], line.quiet) for line in lines]
    name = f"Leaderboard of {plain(board.title)}"
    return Table(f"board-{index}-table", name, [COLUMNS[i] for i in kept], kept_lines)


def unmeasured(table: Table) -> list[str]:
    """Columns that the table is without, for want of a single value."""
    there = {c.name for c in table.columns}
    return [c.name.partition(" (")[0].lower() for c in COLUMNS if c.name not in there]


def _board_line(
    board: Board, cell: Cell, standing: Standing | None, bounds: tuple[float, float]
) -> list[TableCell]:
    return [
        TableCell(MISSING) if standing is None else places(
            standing.first, standing.last, standing.group
        ),
        TableCell(cell.rule, note=_remark(board, cell, standing), link=anchor(cell)),
        accuracy(cell.estimate, bounds),
        seeds_entry(board, cell),
        _alignment(cell),
        _steps(board, cell),
        number(train_seconds(cell)),
        number(cost(cell, "forward_equivalents")),
        _memory(cell),
        percent(_mean_validation(cell)),
        _published(cell, board.task),
        _tuned(cell),
        TableCell("command", sort=command(cell), kind="command"),
    ]  # fmt: skip


def _remark(board: Board, cell: Cell, standing: Standing | None) -> str:
    """The options, and why there is no rank."""
    why = ""
    if standing is None:
        one = board.entries[cell.rule] is cell
        why = "fewer than two seeds: not ranked" if one else "another configuration: not ranked"
    return plain("; ".join(filter(None, (cell.own_label, why))))


def _scale(board: Board) -> tuple[float, float]:
    """The span of the ranked rules' intervals, without what lies far below the middle one."""
    found = [s.cell.estimate for s in board.standings if s.cell.estimate]
    if not found:
        return 0.0, 1.0
    top = min(1.0, max(e.high for e in found))
    middle = statistics.median(e.value for e in found)
    return max(0.0, min(e.low for e in found), top - 3 * (top - middle)), top


def seeds_entry(board: Board, cell: Cell) -> TableCell:
    there = len(cell.scores())
    wanted = max(there + len(cell.absent), board.seeds if board.entries[cell.rule] is cell else 0)
    notes = []
    if there < wanted:
        notes.append("incomplete")
    if cell.diverged:
        notes.append(f"{len(cell.diverged)} diverged")
    text = str(there) if there == wanted else f"{there} of {wanted}"
    missing = f"no record of seed {', '.join(map(str, cell.absent))}" if cell.absent else ""
    return TableCell(text, sort=there, note=", ".join(notes), title=missing)


def _mean_validation(cell: Cell) -> float | None:
    scores = cell.scores("validation_accuracy")
    if all(r.validation_accuracy is None for r in cell.records):
        return None
    return math.fsum(scores.values()) / len(scores) if len(scores) == len(cell.records) else None


def card_of(cells: Sequence[Cell]) -> RuleCard | None:
    """The facts on a rule that its records carry; None in records that have none."""
    return next((r.card for c in cells for r in c.records if r.card is not None), None)


def _published(cell: Cell, task: str) -> TableCell:
    """Numbers for the data set that the task's name begins with."""
    card = card_of([cell])
    dataset = cell.configuration.get("task", {})
    name = str(dataset.get("dataset", task)) if isinstance(dataset, dict) else task
    found = [p for p in (card.published if card else []) if _concerns(p, task, name)]
    if not found:
        return TableCell(MISSING)
    notes = "; ".join(plain(f"{p.metric}. {p.note} ({p.source})") for p in found)
    values = ", ".join(f"{100 * p.value:.2f}" for p in found)
    return TableCell(values, sort=found[0].value, note="see note", title=notes)


def _concerns(p: Published, task: str, dataset: str) -> bool:
    words = p.metric.lower().split()
    return 0 <= p.value <= 1 and bool({task.lower(), dataset.lower()} & set(words))


def _steps(board: Board, cell: Cell) -> TableCell:
    goal = target(board)
    if goal is None:
        return TableCell(MISSING)
    found = steps_to(cell, goal)
    if math.isnan(found.median):
        return TableCell(MISSING)
    some = "" if found.reached == found.seeds else f"{found.reached} of {found.seeds} seeds"
    if math.isinf(found.median):
        return TableCell("not reached", sort=1e300, note=some if found.reached else "")
    return TableCell(f"{found.median:,.0f}", sort=found.median, note=some)


def _memory(cell: Cell) -> TableCell:
    entry = number(scaled(cost(cell, "peak_bytes"), 2.0**-20))
    counted = any(r.cost is not None and not r.cost.peak_measured for r in cell.records)
    return replace(entry, note="counted") if counted and entry.text != MISSING else entry


def _alignment(cell: Cell) -> TableCell:
    values = final_alignment(cell).mean
    if not len(values) or not all(map(math.isfinite, values)):
        return TableCell(MISSING)
    mean = float(values.mean())
    each = ", ".join(f"{n}: {v:.2f}" for n, v in zip(layers(cell), values, strict=True))
    return TableCell(f"{mean:.2f}", mean, title=f"layer {plain(each)}", kind="bars",
                 data=tuple(float(f"{v:.3f}") for v in values))  # fmt: skip


def _tuned(cell: Cell) -> TableCell:
    if cell.tuning is None:
        return TableCell("set by hand" if cell.own_label else "defaults")
    trials, rest = budget(cell.tuning).split(" of ")
    return TableCell(trials, note=f"of {rest}", link=tuning_anchor(cell.tuning))


def budget(tuning: Tuning) -> str:
    """A tuning's budget in words."""
    b = tuning.budget
    return f"{count(b.trials, 'trial')} of {count(b.seeds, 'seed')}, {count(b.epochs, 'epoch')}"


def leaders(board: Board) -> list[str]:
    """The rules of the first tie group, in words for the head of a board."""
    first = next(iter(groupby(board.standings, key=lambda s: s.group)), None)
    return [s.cell.rule for s in first[1]] if first else []
