"""Measured seeds stand together as they do on boards: by source, and by search of their own."""

from __future__ import annotations

from pathlib import Path

from bioplaus.analysis.measured import measured
from bioplaus.records.doubts import as_stored, sources_apart
from bioplaus.records.schema import ResultSet
from bioplaus.records.store import Store
from tests.helpers.boards import make_cell
from tests.helpers.measured import CURVES, made
from tests.helpers.tunings import tuned_one_by_one


def test_a_cell_of_two_sources_keeps_its_measurements_apart() -> None:
    """Two seeds of one source, one of another: two rows, no number lost, none averaged."""
    stored = [
        r.model_copy(update={"provenance": {**r.provenance, "rule": {"sha256": source * 32}}})
        for r, source in zip(make_cell("mine", [0.95, 0.94, 0.96]), ("aa", "aa", "bb"), strict=True)
    ]
    apart, lines = sources_apart(stored)
    assert len(lines) == 1 and apart[2].cell != stored[2].cell
    items = [made(r, CURVES[r.seed]) for r in stored]
    (group,) = measured(ResultSet(apart, measurements=items))
    assert sorted([m.seed for m in c.measurements] for c in group.cells) == [[0, 1], [2]]
    assert sorted(len(c.records) for c in group.cells) == [1, 2]
    assert [as_stored(r) for r in apart] == stored


def test_seeds_tuned_one_by_one_are_one_row() -> None:
    records, tunings = tuned_one_by_one("a", [0.95, 0.94, 0.96])
    items = [made(r, CURVES[r.seed]) for r in records]
    (group,) = measured(ResultSet(records, tunings, measurements=items))
    (cell,) = group.cells
    assert [m.seed for m in cell.measurements] == [0, 1, 2]
    first, _ = cell.estimates("robust")
    assert first is not None and abs(first.value - 0.85) < 1e-12


def test_a_file_lies_where_its_record_lies_whatever_its_source(tmp_path: Path) -> None:
    records = [
        r.model_copy(update={"provenance": {**r.provenance, "rule": {"sha256": source * 32}}})
        for r, source in zip(make_cell("mine", [0.95, 0.94]), ("aa", "bb"), strict=True)
    ]
    store = Store(tmp_path)
    for record in records:
        store.publish(record)
    for record in store.read_all().records:
        own = as_stored(record)
        assert store.path(own.task, own.rule, own.cell, own.seed).is_file()
