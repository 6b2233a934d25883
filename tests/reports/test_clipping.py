"""Curves and bands beyond an axis are cut at its end, not drawn into the next figure."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.integrate import trapezoid

from bioplaus.records.metric import ACCURACY, R2
from reports.clipping import Point, area_within, line_within
from reports.svg import Chart, labels, linear, scores

TOP, BOTTOM = 2.0, 5.0


@pytest.mark.parametrize("seed", range(5))
def test_a_line_keeps_what_lies_between_and_nothing_else(seed: int) -> None:
    y = np.random.default_rng(seed).uniform(0, 8, 9)
    pieces = line_within([(float(x), float(v)) for x, v in enumerate(y)], TOP, BOTTOM)
    assert all(TOP <= v <= BOTTOM for piece in pieces for _, v in piece)
    for x in np.linspace(0, 8, 401):
        height = np.interp(x, np.arange(9), y)
        on = [np.interp(x, *zip(*p, strict=True)) for p in pieces if p[0][0] <= x <= p[-1][0]]
        inside = TOP < height < BOTTOM
        assert not inside or on[0] == pytest.approx(height)
        assert inside or not on or on[0] in (pytest.approx(TOP), pytest.approx(BOTTOM))


def test_lines_that_touch_or_miss() -> None:
    assert line_within([(0.0, 0.0), (1.0, 1.0)], TOP, BOTTOM) == []
    assert line_within([(0.0, 3.0), (1.0, 4.0), (2.0, 3.0)], TOP, BOTTOM) == [
        [(0.0, 3.0), (1.0, 4.0), (2.0, 3.0)]
    ]
    assert line_within([(0.0, 3.0)], TOP, BOTTOM) == [[(0.0, 3.0)]]
    assert line_within([(0.0, 9.0)], TOP, BOTTOM) == []
    assert area_within([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)], TOP, BOTTOM) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_band_keeps_the_area_between(seed: int) -> None:
    draw = np.random.default_rng(seed)
    low = draw.uniform(-1, 6, 7)
    high, x = low + draw.uniform(0.1, 3, 7), np.arange(7.0)
    points: list[Point] = [*zip(x.tolist(), high.tolist(), strict=True)]
    points += [*zip(x[::-1].tolist(), low[::-1].tolist(), strict=True)]
    corners = np.array(area_within(points, TOP, BOTTOM)).reshape(-1, 2)
    after = np.roll(corners, -1, 0)
    area = abs(np.sum(corners[:, 0] * after[:, 1] - corners[:, 1] * after[:, 0])) / 2
    fine = np.linspace(0, 6, 60_001)
    tall = np.minimum(np.interp(fine, x, high), BOTTOM) - np.maximum(np.interp(fine, x, low), TOP)
    assert area == pytest.approx(trapezoid(np.maximum(tall, 0), fine), abs=1e-6)


def heights(svg: str, kind: str) -> list[float]:
    (path,) = re.findall(rf'class="{kind}[^"]*"[^>]* d="([^"]*)"|class="{kind}" d="([^"]*)"', svg)
    numbers = re.findall(r"[ML]?(-?[\d.]+) (-?[\d.]+)", "".join(path))
    return [float(y) for _, y in numbers]


def test_what_a_chart_draws_ends_at_its_frame() -> None:
    chart = Chart(linear("epoch", [1, 4], low=1, high=4), linear("y", [0, 1], low=0, high=1))
    _, top, _, bottom = chart.frame
    chart.line([(1, -3), (2, 0.5), (3, 4), (4, 0.2)], 0, "a")
    chart.band([(1, 2), (4, 2)], [(1, -5), (4, 0.5)], 0)
    labels(chart, [(2, -7, "far below", 0)])
    svg = chart.svg("a figure")
    drawn = [*heights(svg, "curve mark s0"), *heights(svg, "band s0")]
    assert min(drawn) == top and max(drawn) == bottom
    assert top <= float(re.findall(r'class="label s0" x="[\d.]+" y="([-\d.]+)"', svg)[0]) <= bottom
    before = len(chart.parts)
    chart.line([(1, -3), (2, -2)], 0, "beyond")
    assert len(chart.parts) == before


def test_the_axis_of_r2_reaches_below_that_of_the_mean() -> None:
    axis = scores(R2, "test", "by the error", [-8.5, 30.0])
    assert axis.low < -8.5 and axis.holds(-8.5)
    assert scores(R2, "test", "by the error", [-1e6, 30.0]).low == -100
    assert scores(ACCURACY, "test", "by the error", [-5.0, 90.0]).low == 0
