"""The figures of one board: seeds, learning, cost and alignment."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bioplaus.analysis.boards import Board
from bioplaus.analysis.cells import Cell
from bioplaus.records.metric import Metric

from .cell_measures import (
    Band,
    alignment_curve,
    cost,
    final_alignment,
    layers,
    score_curve,
    train_seconds,
)
from .svg import Axis, Chart, labels, linear, logarithmic, named, scores

MOST_POINTS = 120
"""Epochs of a curve that are drawn; longer ones are thinned."""


@dataclass(frozen=True)
class Figure:
    """A figure of the page."""

    id: str
    title: str
    caption: str
    """How to read it, in a sentence."""
    svg: str
    wide: bool = False


Styles = Mapping[str, int]


def board_figures(board: Board, number: int, styles: Styles) -> list[Figure]:
    """A board's figures, without those that there are no numbers for."""
    placed = [s.cell for s in board.standings]
    cells = [*placed, *(c for c in board.entries.values() if c not in placed)]
    made = [
        _seeds(cells, number, styles, board.metric),
        _learning(cells, number, styles, board.metric),
        *_costs(cells, number, styles, board.metric),
        _depth(cells, number, styles),
        _alignment(cells, number, styles),
    ]
    return [f for f in made if f is not None]


def _seeds(cells: Sequence[Cell], number: int, styles: Styles, metric: Metric) -> Figure | None:
    k = metric.factor
    values = [k * v for c in cells for v in c.scores().values()]
    if not values:
        return None
    axis = scores(metric, "test", "spaced by the error", values, _floor(cells))
    chart = rows(axis, [c.rule for c in cells])
    for i, cell in enumerate(cells):
        start, style = len(chart.parts), styles[cell.rule]
        for seed, value in cell.scores().items():
            chart.mark(k * value, i, style, f"{cell.rule}, seed {seed}: {metric.text(value)}", 3.2)
        if cell.estimate and chart.x.holds(k * cell.estimate.value):
            px, py = chart.at(k * cell.estimate.value, i)
            chart.add(f'<path class="mean" d="M{px:.1f} {py - 7:.1f}v14"/>')
        if cell.diverged:
            lost = f"{len(cell.diverged)} diverged"
            py = chart.at(chart.x.low, i)[1]
            chart.add(f'<text class="lost" x="{chart.left + 4}" y="{py + 4:.1f}">{lost}</text>')
        chart.group(cell.rule, start)
    return Figure(
        f"seeds-{number}", "Every seed",
        "One mark for each seed, a bar at their mean." + (
            "" if metric.lower_is_better else " Towards the right the error halves by equal "
            "steps, so that 98 to 99 is as far as 80 to 90."),
        chart.svg(f"Every seed's test {metric.words}"),
    )  # fmt: skip


def _learning(cells: Sequence[Cell], number: int, styles: Styles, metric: Metric) -> Figure | None:
    bands = {c.rule: _read(score_curve(c), metric) for c in cells}
    values = [v for b in bands.values() for part in b for v in part if math.isfinite(v)]
    if not values:
        return None
    axis = scores(metric, "test", "by the error", values, _floor(cells))
    svg = _curves(bands, axis, styles, "Learning curves")
    return Figure(
        f"learning-{number}", "Learning curves",
        f"Test {metric.words} after each epoch: mean of the seeds that lived, and the 95 % "
        "interval of the mean." + (
            "" if metric.lower_is_better else " The height is the logarithm of the error."), svg,
    )  # fmt: skip


def _alignment(cells: Sequence[Cell], number: int, styles: Styles) -> Figure | None:
    bands = {c.rule: alignment_curve(c) for c in cells}
    values = [v for b in bands.values() for part in b for v in part if math.isfinite(v)]
    if not values:
        return None
    axis = linear("cosine with the gradient", values, high=max(1.0, *values) + 0.02)
    return Figure(
        f"alignment-{number}", "Alignment over training",
        "Cosine between update and loss gradient after each epoch, the mean over layers below "
        "the top: a falling curve has left the gradient's direction as it learned.",
        _curves(bands, axis, styles, "Alignment over training"),
    )  # fmt: skip


def _curves(bands: Mapping[str, Band], axis: Axis, styles: Styles, label: str) -> str:
    longest = max(len(b.mean) for b in bands.values())
    chart = Chart(linear("epoch", [1, longest], low=1 if longest > 1 else 0.5,
                         high=max(longest, 1.5)), axis)  # fmt: skip
    for rule, band in bands.items():
        start, style = len(chart.parts), styles[rule]
        kept = thinned([k for k in range(len(band.mean)) if math.isfinite(band.mean[k])])
        sure = [k for k in kept if math.isfinite(band.low[k]) and math.isfinite(band.high[k])]
        if sure:
            chart.band([(k + 1, float(band.high[k])) for k in sure],
                       [(k + 1, float(band.low[k])) for k in sure], style)  # fmt: skip
        points = [(k + 1.0, float(band.mean[k])) for k in kept]
        if points:
            chart.line(points, style, f"{rule}: {points[-1][1]:.4g} at the end")
            chart.mark(*points[-1], style, f"{rule}: {points[-1][1]:.4g} at the end", 3.4)
        chart.group(rule, start)
    return chart.svg(label)


def _costs(
    cells: Sequence[Cell], number: int, styles: Styles, metric: Metric
) -> Iterable[Figure | None]:
    k, words = metric.factor, metric.words.capitalize()
    measures = {
        "time": ("seconds of training for a seed", train_seconds),
        "operations": ("cost of a step in forward passes",
                       lambda c: cost(c, "forward_equivalents")),
    }  # fmt: skip
    for name, (title, measure) in measures.items():
        found = [(x, c) for c in cells if (x := measure(c)) and x > 0 and c.estimate]
        if not found:
            continue
        ys = [k * v for _, c in found if c.estimate for v in _bounds(c.estimate)]
        axis = scores(metric, "test", "by the error", ys, _floor(cells))
        chart = Chart(logarithmic(title, [x for x, _ in found]), axis)
        for x, cell in found:
            start, style = len(chart.parts), styles[cell.rule]
            low, value, high = (k * v for v in _bounds(cell.estimate))
            chart.bar((x, low), (x, high), style)
            chart.mark(x, value, style, f"{cell.rule}: {metric.text(value / k)} for {x:.3g}")
            chart.group(cell.rule, start)
        labels(chart, [(x, k * c.estimate.value, c.rule, styles[c.rule])
                       for x, c in found if c.estimate])  # fmt: skip
        yield Figure(
            f"cost-{name}-{number}", f"{words} against {name}",
            "Down and to the left is better: less for less." if metric.lower_is_better else
            f"Up and to the left is better: more test {metric.words} for less.",
            chart.svg(f"{words} against {name}"),
        )  # fmt: skip


def _depth(cells: Sequence[Cell], number: int, styles: Styles) -> Figure | None:
    found = [(c, layers(c.records), final_alignment(c)) for c in cells]
    found = [(c, names, b) for c, names, b in found if np.isfinite(b.mean).any()]
    if not found:
        return None
    by_depth = sorted((n for _, n, _ in found), key=len, reverse=True)
    names = list(dict.fromkeys(name for own in by_depth for name in own))
    values = [float(v) for *_, b in found for part in b for v in part if math.isfinite(v)]
    axis = linear("cosine with the gradient", values, high=max(1.0, *values) + 0.02)
    chart = Chart(named("layer, from the input", names), axis)
    for cell, own, band in found:
        start, style = len(chart.parts), styles[cell.rule]
        points = [(float(names.index(n)), float(v))
                  for n, v in zip(own, band.mean, strict=True)
                  if math.isfinite(v)]  # fmt: skip
        chart.line(points, style, cell.rule)
        for x, y in points:
            chart.mark(x, y, style, f"{cell.rule}: {y:.3f}", 3.4)
        chart.group(cell.rule, start)
    return Figure(
        f"depth-{number}", "Alignment by depth",
        "Cosine between a layer's update and the gradient of the loss after the last epoch: 1 is "
        "backprop's direction, 0 unrelated to it.", chart.svg("Alignment by depth"),
    )  # fmt: skip


def rows(x: Axis, names: Sequence[str], right: int = 12) -> Chart:
    """A chart with a row for each name."""
    left = min(220, 16 + round(6.6 * max(map(len, names), default=0)))
    height = 54 + max(21 * len(names), 80)
    return Chart(x, named("", names), height=height, left=left, right=right, downward=True)


def _bounds(found: object) -> tuple[float, float, float]:
    value, low, high = found.value, found.low, found.high  # type: ignore[attr-defined]
    return (value, value, value) if math.isnan(low) else (low, value, high)


def _read(band: Band, metric: Metric) -> Band:
    return Band(*(metric.factor * part for part in band))


def _floor(cells: Sequence[Cell]) -> float:
    """The error, in percent, of half a test example: what is told from none."""
    sizes = [n for c in cells if (n := c.test_examples)]
    return 50 / max(sizes) if sizes else 0.02


def thinned(epochs: Sequence[int]) -> list[int]:
    """Which of some epochs a figure shows: all, or evenly spread ones with both ends."""
    last = len(epochs) - 1
    if last < MOST_POINTS:
        return list(epochs)
    places = {round(i * last / (MOST_POINTS - 1)) for i in range(MOST_POINTS)}
    return [epochs[place] for place in sorted(places)]
