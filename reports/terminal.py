"""The report for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import ClassVar

from rich import box
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from bioplaus.analysis.report import Report
from bioplaus.records.metric import ACCURACY, Metric
from bioplaus.records.schema import ResultSet

from .summary import NO_RECORDS, TaskTable, legend, task_tables

HEADERS = {
    "rule": "Rule",
    "config": "Config",
    "seeds": "Seeds",
    "test_score": "Test {}",
    "validation_score": "Val. {}",
    "train_seconds": "s/seed",
    "alignment": "Align.",
    "spikes": "Spikes",
    "backward_transfer": "BWT (%)",
    "synaptic_operations": "Syn. ops",
}
DEFAULT_WIDTH = 120
MIN_WIDTH = 76
"""What the numbers and a rule's name need; a narrower terminal breaks the lines itself."""


class TableReport(Report):
    """Tables for the terminal, one per task, accuracies in percent."""

    name: ClassVar[str] = "table"

    def render(self, results: ResultSet, width: int | None = None) -> str:
        """Tables without colours; where `width` is short, the options stand below the rule."""
        tables = task_tables(results.records)
        if not tables:
            return f"{NO_RECORDS}\n"
        columns = max(width or DEFAULT_WIDTH, MIN_WIDTH)
        blocks = [f"{t.task}\n{_draw(_fitting(t, columns), columns)}" for t in tables]
        return "\n\n".join([*blocks, _draw(Text(legend(results.records)), columns)]) + "\n"


def _fitting(table: TaskTable, width: int) -> Table:
    """All on one line where that fits, or else rule and configuration in one column."""
    rows = [*table.rows, *table.references]
    wide = _grid(table.columns, rows, table.metric)
    unlimited = _console(10_000)
    if Measurement.get(unlimited, unlimited.options, wide).maximum <= width:
        return wide
    merged = [_merge(dict(zip(table.columns, row, strict=True))) for row in rows]
    columns = [c for c in table.columns if c != "config"]
    return _grid(columns, [[row[c] for c in columns] for row in merged], table.metric)


def _merge(row: dict[str, str]) -> dict[str, str]:
    seeds, bracket, diverged = row["seeds"].partition("(")
    below = [row["rule"], row.get("config", ""), bracket + diverged]
    return {**row, "rule": "\n".join(filter(None, below)), "seeds": seeds.rstrip()}


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]], metric: Metric) -> Table:
    """A table of plain text: `Text` keeps brackets in a label from being read as markup."""
    grid = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column in columns:
        wraps = column in ("rule", "config")
        grid.add_column(
            HEADERS[column].format("%" if metric == ACCURACY else metric.heading),
            justify="left" if wraps else "right",
            overflow="fold",
            no_wrap=not wraps,
        )
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    return grid


def _console(width: int) -> Console:
    """A console that takes nothing from the environment: the same text everywhere."""
    return Console(
        file=StringIO(),
        width=width,
        color_system=None,
        force_jupyter=False,
        legacy_windows=False,
    )


def _draw(content: RenderableType, width: int) -> str:
    console = _console(width)
    with console.capture() as capture:
        console.print(content)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().split("\n"))
