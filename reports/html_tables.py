"""The tables of the HTML page, as data: what each cell shows, sorts by and downloads as."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bioplaus.analysis.cells import Cell
from bioplaus.analysis.statistics import Estimate
from bioplaus.records.metric import Metric
from bioplaus.records.schema import Tuning

from .cell_measures import MISSING


@dataclass(frozen=True)
class Column:
    """A column: its heading, what it means, and whether it holds numbers."""

    name: str
    hint: str = ""
    number: bool = True
    wide: bool = False
    """Holds sentences."""
    out: tuple[str, ...] = ()
    """Columns of the download; its name alone where there are none."""
    extra: bool = False
    """Not on a narrow screen, where the page says so."""


@dataclass(frozen=True)
class TableCell:
    """One cell of a table."""

    text: str
    sort: float | str | None = None
    """What it sorts by and downloads as, where that is not its text; None for nothing known."""
    note: str = ""
    """Smaller, below."""
    title: str = ""
    """More, for whoever asks."""
    kind: str = ""
    """How the template draws it: "", interval, bars, command, mark."""
    data: tuple[float, ...] = ()
    """The numbers that a drawing shows."""
    link: str = ""
    badge: str = ""
    out: tuple[float | str | None, ...] = ()
    """What it downloads as, for each of the column's; its number or text where there is none."""


@dataclass(frozen=True)
class Line:
    """One row; `quiet` for one that is not ranked."""

    entries: list[TableCell]
    quiet: bool = False
    id: str = ""
    """Where it is linked to."""


@dataclass(frozen=True)
class Table:
    """A table that sorts, filters and downloads."""

    id: str
    label: str
    columns: list[Column]
    lines: list[Line]
    others: Sequence[Line] = ()
    """What has no rank: folded away, never sorted among the rest."""

    def download(self) -> list[list[float | str | None]]:
        """A heading and a row for each line, numbers in the heading's unit."""
        heading = [name for c in self.columns for name in c.out or (c.name,)]
        rows = [*self.lines, *self.others]
        return [list(heading), *([v for e, c in zip(line.entries, self.columns, strict=True)
                                  for v in _out(e, c)] for line in rows)]  # fmt: skip


def _out(cell: TableCell, column: Column) -> tuple[float | str | None, ...]:
    """One value for each of the column's, nothing for what is not known."""
    if cell.out:
        return cell.out
    first = None if cell.text == MISSING else cell.text if cell.sort is None else cell.sort
    return (first, *[None] * (len(column.out) - 1))


def places(first: int, last: int) -> TableCell:
    text = str(first) if first == last else f"{first}-{last}"
    return TableCell(text, sort=first, out=(first, last))


def score(found: Estimate | None, bounds: tuple[float, float], metric: Metric) -> TableCell:
    """Mean and interval as people read the metric, drawn between bounds as records have it."""
    if found is None:
        return TableCell(MISSING)
    low, high = found.low, found.high
    if math.isnan(low):
        return TableCell(metric.shown(found.value), sort=found.value)
    first, last = bounds
    span = (last - first) or 1.0
    drawn = tuple((v - first) / span for v in (low, found.value, high))
    note = f"{metric.shown(low)} to {metric.shown(high)}"
    return TableCell(metric.shown(found.value), found.value, note, kind="interval", data=drawn,
                     out=(found.value, low, high))  # fmt: skip


def scored(value: float | None, metric: Metric) -> TableCell:
    return TableCell(MISSING) if value is None else TableCell(metric.shown(value), value)


def number(value: float | None) -> TableCell:
    if value is None:
        return TableCell(MISSING)
    return TableCell(f"{value:,.0f}" if value >= 100 else f"{value:.3g}", value)


def scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def count(number: int, thing: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def anchor(cell: Cell) -> str:
    """Where a cell's configuration stands on the page: safe in an attribute and a selector."""
    return f"cell-{cell.digest[:16]}-{cell.rule}-{cell.task}"


def tuning_anchor(tuning: Tuning) -> str:
    """Where a tuning stands on the page."""
    return f"tuning-{tuning.key[:16]}"


def slug(title: str) -> str:
    """A title as an anchor that reads."""
    return "-".join(re.findall(r"[a-z0-9.]+", title.lower())) or "board"
