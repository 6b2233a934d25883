"""The tables of the HTML page, as data: what each cell shows, sorts by and downloads as."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bioplaus.analysis.boards import Cell
from bioplaus.analysis.statistics import Estimate
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


@dataclass(frozen=True)
class Line:
    """One row; `quiet` for one that is not ranked."""

    entries: list[TableCell]
    quiet: bool = False


@dataclass(frozen=True)
class Table:
    """A table that sorts, filters and downloads."""

    id: str
    label: str
    columns: list[Column]
    lines: list[Line]


def places(first: int, last: int, group: int) -> TableCell:
    text = str(first) if first == last else f"{first}-{last}"
    return TableCell(text, sort=first, title=f"tie group {group}")


def accuracy(found: Estimate | None, bounds: tuple[float, float]) -> TableCell:
    """Mean and interval in percent, drawn between bounds given as fractions."""
    if found is None:
        return TableCell(MISSING)
    low, high = found.low, found.high
    if math.isnan(low):
        return TableCell(f"{100 * found.value:.2f}", sort=found.value)
    first, last = bounds
    span = (last - first) or 1.0
    drawn = tuple(min(1.0, max(0.0, (v - first) / span)) for v in (low, found.value, high))
    note = f"{100 * low:.2f} to {100 * high:.2f}"
    return TableCell(f"{100 * found.value:.2f}", found.value, note, kind="interval", data=drawn)


def percent(value: float | None) -> TableCell:
    return TableCell(MISSING) if value is None else TableCell(f"{100 * value:.2f}", value)


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
