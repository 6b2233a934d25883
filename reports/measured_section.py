"""The board's section on an axis: tables and curves of what was measured after training."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from bioplaus.analysis.measured import MeasuredCell, MeasuredGroup
from bioplaus.analysis.statistics import Estimate
from bioplaus.errors import printable
from bioplaus.records.metric import ACCURACY
from bioplaus.records.schema import Described

from .cell_measures import MISSING
from .figures import Figure, Styles
from .html_tables import Column, Line, Table, TableCell, score, slug
from .svg import Chart, linear, logarithmic


def measured_sections(groups: Sequence[MeasuredGroup], styles: Styles) -> list[dict[str, Any]]:
    """One for each axis, of its groups in their order."""
    by_axis: dict[str, list[MeasuredGroup]] = defaultdict(list)
    for group in groups:
        by_axis[group.axis].append(group)
    return [
        {
            "id": f"axis-{slug(axis)}",
            "title": printable(axis),
            "groups": [_shown(g, f"{slug(axis)}-{i}", styles) for i, g in enumerate(found)],
        }
        for axis, found in by_axis.items()
    ]


def _shown(group: MeasuredGroup, name: str, styles: Styles) -> dict[str, Any]:
    rules = list(dict.fromkeys(cell.rule for cell in group.cells))
    return {
        "id": f"axis-{name}",
        "title": printable(group.title),
        "settings": ", ".join(f"{k}={v}" for k, v in sorted(group.settings.items())),
        "missing": [_unmeasured(cell) for cell in group.cells if _unmeasured(cell)],
        "table": _table(group, f"axis-table-{name}"),
        "figures": [_figure(group, value, f"axis-{name}-{slug(value)}", styles)
                    for value in group.lists()],
        "chips": [(rule, styles[rule], True) for rule in rules],
    }  # fmt: skip


def _unmeasured(cell: MeasuredCell) -> str:
    """A rule and how many of its seeds were not measured; '' for none."""
    lacking = len(cell.records) - len(cell.measurements)
    name = printable(cell.name)
    return f"{name} ({lacking} of {len(cell.records)} seeds)" if lacking else ""


def _table(group: MeasuredGroup, name: str) -> Table:
    """The single numbers, and the first of the lists at each of its places."""
    places = [(n, 0, group.described[n].words or n, _plain(n)) for n in group.numbers()]
    for first in group.lists()[:1]:
        said = group.described[first]
        places += [
            (first, i, said.words or first, f"{_plain(first)}, {_plain(said.over)} {at:g}")
            for i, at in enumerate(said.at)
        ]
    columns = [Column("Rule", number=False), Column("Configuration", number=False, extra=True),
               Column("Seeds", "measured")]  # fmt: skip
    columns += [
        Column(
            heading + " (%)" * group.described[value].share,
            printable(words),
            out=(slug(heading), f"{slug(heading)}-low", f"{slug(heading)}-high"),
        )
        for value, _, words, heading in places
    ]
    lines = []
    estimates = {cell.cell: {v: cell.estimates(v) for v, *_ in places} for cell in group.cells}
    bounds = {value: _bounds(group, value) for value, *_ in places}
    for cell in group.cells:
        entries = [TableCell(cell.rule), TableCell(printable(cell.label)),
                   TableCell(str(len(cell.measurements)), len(cell.measurements))]  # fmt: skip
        for value, i, *_ in places:
            found = estimates[cell.cell][value]
            entries.append(_entry(found[i] if i < len(found) else None, group.described[value],
                                  bounds[value]))  # fmt: skip
        lines.append(Line(entries))
    return Table(name, f"{printable(group.axis)}, {printable(group.title)}", columns, lines)


def _bounds(group: MeasuredGroup, value: str) -> tuple[float, float]:
    known = [
        b for cell in group.cells for e in cell.estimates(value) if e is not None
        for b in (e.value, e.low, e.high) if math.isfinite(b)
    ]  # fmt: skip
    return (min(known), max(known)) if known else (0.0, 1.0)


def _entry(found: Estimate | None, said: Described, bounds: tuple[float, float]) -> TableCell:
    if found is None:
        return TableCell(MISSING)
    if said.share:
        return score(found, bounds, ACCURACY)
    note = "" if math.isnan(found.low) else f"{found.low:.4g} to {found.high:.4g}"
    return TableCell(f"{found.value:.4g}", found.value, note,
                     out=(found.value, *map(_finite, (found.low, found.high))))  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _figure(group: MeasuredGroup, value: str, name: str, styles: Styles) -> Figure:
    said = group.described[value]
    factor = 100.0 if said.share else 1.0
    lines = {
        cell.cell: [
            (at, e._replace(value=factor * e.value, low=factor * e.low, high=factor * e.high))
            for at, e in zip(said.at, cell.estimates(value), strict=False)
            if e is not None
        ]
        for cell in group.cells
    }
    bounds = [v for line in lines.values() for _, e in line for v in (e.value, e.low, e.high)]
    known = [v for v in bounds if math.isfinite(v)] or [0.0, 1.0]
    places = list(said.at)
    positive = min(places) > 0 and max(places) / min(places) > 4
    x = (logarithmic if positive else linear)(printable(_plain(said.over)), places)
    unit = "%" if said.share else ""
    low, high = (0.0, 100.0) if said.share else (None, None)
    chart = Chart(x, linear(f"{_plain(value)} (%)" if said.share else _plain(value), known,
                            low, high))  # fmt: skip
    for cell in group.cells:
        start, style = len(chart.parts), styles[cell.rule]
        if lines[cell.cell]:
            _draw(chart, lines[cell.cell], style, cell.name, unit)
        chart.group(cell.rule, start)
    clean = _clean(group)
    words = printable(said.words or value)
    title = f"{printable(group.title)}: {printable(_plain(value))} over {_plain(said.over)}"
    caption = f"{words[:1].upper()}{words[1:]}. Means over seeds with their 95 % intervals.{clean}"
    return Figure(name, title, caption, chart.svg(title))


def _draw(
    chart: Chart, line: Sequence[tuple[float, Estimate]], style: int, name: str, unit: str
) -> None:
    chart.line([(at, e.value) for at, e in line], style, name)
    for at, e in line:
        said = f"{name}, {at:g}: {e.value:.4g} {unit}".rstrip()
        if math.isfinite(e.low) and math.isfinite(e.high):
            chart.bar((at, e.low), (at, e.high), style)
            said += f" ({e.low:.4g} to {e.high:.4g})"
        chart.mark(at, e.value, style, said, 3.6)


def _clean(group: MeasuredGroup) -> str:
    """The accuracy of the same networks with nothing done to them, for a caption."""
    shown = {
        cell.name: e[0].value
        for cell in group.cells
        if "clean" in group.described and (e := cell.estimates("clean")) and e[0] is not None
    }
    if not 0 < len(shown) <= 8:
        return ""
    return f" Clean: {', '.join(f'{printable(n)} {100 * v:.1f} %' for n, v in shown.items())}."


def _plain(name: str) -> str:
    return name.replace("_", " ")
