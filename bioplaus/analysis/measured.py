"""What axes measured of trained networks, gathered over seeds: one group for each thing compared.

Only measurements of one axis, version and settings, of records that may be compared (the same
task, data, epochs and precision), stand beside each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import stdev

from bioplaus.analysis.boards import conditions
from bioplaus.analysis.cells import Cell, cells, shared_part
from bioplaus.analysis.differing import differing
from bioplaus.analysis.statistics import Estimate, mean_interval
from bioplaus.records.keys import digest
from bioplaus.records.schema import Described, Measurement, Record, ResultSet


@dataclass(frozen=True)
class MeasuredCell:
    """The seeds of one rule and configuration that were measured alike."""

    rule: str
    label: str
    cell: str
    measurements: tuple[Measurement, ...]
    """One for each seed, sorted by it."""
    records: tuple[Record, ...]
    """All seeds, measured or not."""

    @property
    def name(self) -> str:
        """The rule and what differs from its defaults."""
        return f"{self.rule} {self.label}".strip()

    def deviations(self, name: str) -> list[float | None]:
        """Sample standard deviations over seeds; None where one lacks the number, or is alone."""
        return [
            stdev(known) if len(known := [v for v in column if v is not None]) == len(column) > 1
            else None
            for column in self._columns(name)
        ]  # fmt: skip

    def estimates(self, name: str) -> list[Estimate | None]:
        """Means over seeds with their 95 % intervals, one for each place of a value.

        None where a seed lacks the number.
        """
        share = any(name in m.described and m.described[name].share for m in self.measurements)
        return [_estimate(column, share) for column in self._columns(name)]

    def _columns(self, name: str) -> list[list[float | None]]:
        """Of each place the seeds' numbers."""
        found = [m.values.get(name) for m in self.measurements]
        lists = [v if isinstance(v, list) else [v] for v in found]
        places = max(map(len, lists), default=0)
        return [[v[i] if i < len(v) else None for v in lists] for i in range(places)]


@dataclass(frozen=True)
class MeasuredGroup:
    """Cells that may be compared: one axis, one set of settings, one task."""

    axis: str
    task: str
    title: str
    """The task, and what tells this group from others of it."""
    settings: dict[str, object]
    cells: tuple[MeasuredCell, ...]
    """By falling first reading."""
    described: dict[str, Described]
    """Of each value that any of them has."""

    def lists(self) -> list[str]:
        """Names of the values that run over something, in the axis's order."""
        return [name for name, said in self.described.items() if said.over]

    def numbers(self) -> list[str]:
        """Names of the single numbers."""
        return [name for name, said in self.described.items() if not said.over]


def measured(results: ResultSet) -> list[MeasuredGroup]:
    """The groups of a folder, sorted by axis and task; what has no record is left out.

    Seeds stand together as on boards: those of one configuration and source of the rule, or
    of searches of each seed's own.
    """
    members = _members(results)
    sorted_in: dict[tuple[str, ...], dict[_Name, tuple[Cell, dict[int, Measurement]]]]
    sorted_in = defaultdict(dict)
    for item in sorted(results.measurements, key=lambda m: m.to_json()):
        alike = digest({"settings": item.settings, "version": item.version})
        for name, cell in members.get(item.record, {}).items():
            key = (item.axis, item.task, conditions(cell.configuration), alike)
            sorted_in[key].setdefault(name, (cell, {}))[1][item.seed] = item
    groups = sorted(sorted_in.items())
    return _titled([_group(key[0], key[1], list(group.values())) for key, group in groups])


_Name = tuple[str, str, str, str]
"""Task, rule, cell, and source of the rule."""


def _members(results: ResultSet) -> dict[str, dict[_Name, Cell]]:
    """By a record's key the cells that it is in, each once, whatever chose its settings."""
    found: dict[str, dict[_Name, Cell]] = defaultdict(dict)
    for cell in cells(results):
        for record in cell.records:
            name = (cell.task, cell.rule, cell.digest, cell.source or "")
            found[record.key].setdefault(name, cell)
    return found


def _group(
    axis: str, task: str, found: Sequence[tuple[Cell, dict[int, Measurement]]]
) -> MeasuredGroup:
    items = [item for _, seeds in found for item in seeds.values()]
    described: dict[str, Described] = {}
    for item in items:
        described |= {n: said for n, said in item.described.items() if n not in described}
    made = [
        MeasuredCell(
            cell.rule, cell.label, cell.digest,
            tuple(seeds[s] for s in sorted(seeds)), cell.records,
        )
        for cell, seeds in found
    ]  # fmt: skip
    order = _ordered(described)
    made.sort(key=lambda c: (-_merit(c, order), c.rule, c.label, c.cell))
    return MeasuredGroup(axis, task, task, dict(items[0].settings), tuple(made), order)


def _ordered(described: dict[str, Described]) -> dict[str, Described]:
    """As the axis gave them."""
    return dict(sorted(described.items(), key=lambda item: (item[1].place, item[0])))


def _merit(cell: MeasuredCell, described: dict[str, Described]) -> float:
    for name in described:
        if known := [e.value for e in cell.estimates(name) if e is not None]:
            return sum(known) / len(known)
    return float("-inf")


def _titled(groups: Sequence[MeasuredGroup]) -> list[MeasuredGroup]:
    """Titles that tell groups of one axis and task apart."""
    by_name: dict[tuple[str, str], list[MeasuredGroup]] = defaultdict(list)
    for group in groups:
        by_name[group.axis, group.task].append(group)
    made = []
    for alike in by_name.values():
        shared = [shared_part(g.cells[0].records[0].configuration) for g in alike]
        words = differing(
            [{**a, "settings": g.settings} for a, g in zip(shared, alike, strict=True)]
        )
        for group, word in zip(alike, words, strict=True):
            title = ", ".join(filter(None, (group.task, word)))
            made.append(MeasuredGroup(group.axis, group.task, title, group.settings, group.cells,
                                      group.described))  # fmt: skip
    return made


def _estimate(values: Iterable[float | None], share: bool) -> Estimate | None:
    known = list(values)
    if not known or any(v is None for v in known):
        return None
    found = mean_interval([v for v in known if v is not None])
    return found.within(0, 1) if share else found
