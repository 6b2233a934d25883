"""Measurements gathered over seeds: only what is alike, with Student's t."""

from __future__ import annotations

import pytest
from scipy import stats

from bioplaus.analysis.measured import measured
from bioplaus.records.schema import Measurement, ResultSet
from tests.helpers.boards import make_cell
from tests.helpers.measured import CURVES, made


def test_means_and_intervals_are_over_the_seeds() -> None:
    records = make_cell("backprop", [0.95, 0.94, 0.96])
    items = [made(r, CURVES[r.seed]) for r in records]
    (group,) = measured(ResultSet(records, measurements=items[::-1]))
    assert group.numbers() == ["clean"] and group.lists() == ["robust"]
    (cell,) = group.cells
    first, second = cell.estimates("robust")
    assert first is not None and second is not None
    assert first.value == pytest.approx(0.85) and second.value == pytest.approx(0.5)
    half = stats.t.ppf(0.975, 2) * stats.sem([0.5, 0.4, 0.6])
    assert second.low == pytest.approx(0.5 - half) and second.high == pytest.approx(0.5 + half)
    assert cell.deviations("robust")[1] == pytest.approx(0.1)


def test_what_is_not_alike_does_not_stand_together() -> None:
    records = make_cell("backprop", [0.95, 0.94])
    other = make_cell("gaitprop", [0.9, 0.9], epochs=3)
    items = [made(r, CURVES[r.seed]) for r in [*records, *other]]
    items += [made(records[0], [0.3, 0.2], examples=7)]
    groups = measured(ResultSet([*records, *other], measurements=items))
    assert sorted(sorted(c.rule for c in g.cells) for g in groups) == [
        ["backprop"], ["backprop"], ["gaitprop"],
    ]  # fmt: skip
    assert len({g.title for g in groups}) == 3


def test_a_measurement_without_its_record_is_left_out() -> None:
    records = make_cell("backprop", [0.95, 0.94])
    items = [made(r, CURVES[r.seed]) for r in records]
    (group,) = measured(ResultSet(records[:1], measurements=items))
    assert [len(c.measurements) for c in group.cells] == [1]
    assert measured(ResultSet([], measurements=items)) == []


def test_a_seed_that_lacks_a_number_leaves_it_open() -> None:
    records = make_cell("backprop", [0.95, 0.94])
    items = [made(r, CURVES[r.seed]) for r in records]
    content = items[0].model_dump(by_alias=True)
    content["values"]["robust"][1] = None
    (group,) = measured(
        ResultSet(records, measurements=[Measurement.model_validate(content), items[1]])
    )
    first, second = group.cells[0].estimates("robust")
    assert first is not None and second is None
