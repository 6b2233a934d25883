"""Figures as plotly specifications: data and axes, without colours, which the page gives.

Each trace says in `meta` whose it is: `rule` for the page's switches, `style` for its
colour, dash and symbol, `band` where it is the interval around a curve.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bioplaus.analysis.aggregate import THRESHOLDS, Aggregate
from bioplaus.analysis.boards import Board, Cell
from bioplaus.analysis.statistics import Floats

from .cell_measures import (
    Band,
    accuracy_curve,
    alignment_curve,
    cost,
    final_alignment,
    layers,
    plain,
    train_seconds,
)

MOST_POINTS = 120
"""Epochs of a curve that are drawn; longer ones are thinned."""

FEW_EPOCHS = 10
"""Up to so many, each has its tick."""

Trace = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A figure, or several of the same size between which the reader chooses."""

    id: str
    title: str
    caption: str
    """How to read it, in a sentence."""
    variants: list[tuple[str, list[Trace], dict[str, Any]]]
    """(name, traces, layout)."""

    def spec(self) -> list[dict[str, Any]]:
        """For the page's script."""
        return [{"name": n, "data": data, "layout": lay} for n, data, lay in self.variants]


def board_figures(board: Board, number: int, styles: Mapping[str, int]) -> list[Figure]:
    """A board's figures, without those that there are no numbers for."""
    cells = list(board.entries.values())
    made = [
        Figure(
            f"learning-{number}",
            "Learning curves",
            "Test accuracy after each epoch: mean over seeds, and the 95 % interval of the mean.",
            [_curves(cells, accuracy_curve, styles, "test accuracy (%)", 100)],
        ),
        Figure(
            f"cost-{number}",
            "Accuracy against cost",
            "Up and to the left is better: more test accuracy for less. "
            "The horizontal scale is logarithmic; bars are 95 % intervals.",
            _cost_variants(cells, styles),
        ),
        Figure(
            f"depth-{number}",
            "Alignment over depth",
            "Cosine between a layer's update and the gradient of the loss after the last epoch: "
            "1 is backprop's direction, 0 unrelated to it. Layer 1 is next to the input.",
            [_depth(cells, styles)],
        ),
        Figure(
            f"alignment-{number}",
            "Alignment over training",
            "The same cosine after each epoch, as the mean over layers: "
            "a falling curve has left the gradient's direction as it learned.",
            [_curves(cells, alignment_curve, styles, "cosine with the gradient", 1)],
        ),
    ]
    return [f for f in made if any(data for _, data, _ in f.variants)]


def overall_figures(found: Aggregate, styles: Mapping[str, int]) -> list[Figure]:
    """Performance profiles and interquartile means."""
    percent = 100 * np.array(THRESHOLDS)
    profiles = [
        t for o in found.rules for t in _band(o.rule, percent, Band(*o.profile), styles, 100)
    ]
    seen = [i for o in found.rules for i in np.flatnonzero(o.profile[0] < 1)[:1]]
    first = max(0, int(min(seen, default=1)) - 2)
    axes = _axes("accuracy (%)", "runs above it (%)")
    axes["xaxis"]["range"] = [first, 100]
    axes["yaxis"]["range"] = [0, 102]
    middle = [
        {
            "type": "scatter", "mode": "markers", "name": _text(o.rule), "y": [_text(o.rule)],
            "x": [_short(100 * o.interquartile_mean.value)],
            "error_x": _error(o.interquartile_mean, 100),
            "hovertemplate": "%{fullData.name}: %{x:.2f} %<extra></extra>",
            "meta": {"rule": o.rule, "style": styles[o.rule]},
        }
        for o in sorted(found.rules, key=lambda o: (-o.interquartile_mean.value, o.rule))
    ]  # fmt: skip
    named = _axes("interquartile mean (%)", "")
    named["yaxis"] |= {"type": "category", "autorange": "reversed", "automargin": True}
    return [
        Figure(
            "profiles",
            "Performance profiles",
            "The share of runs, over seeds and tasks, that end above an accuracy: "
            "the curve further up and to the right is better wherever it is so.",
            [("", profiles, axes)],
        ),
        Figure(
            "iqm",
            "Interquartile mean",
            "The mean of the middle half of all runs, with the 95 % interval of a bootstrap "
            "that resamples seeds within tasks.",
            [("", middle, named)],
        ),
    ]


def _curves(
    cells: Iterable[Cell], measure: Any, styles: Mapping[str, int], axis: str, by: float
) -> tuple[str, list[Trace], dict[str, Any]]:
    traces, longest = [], 0
    for cell in cells:
        band: Band = measure(cell)
        longest = max(longest, len(band.mean))
        kept = thinned(len(band.mean))
        x = np.array(kept, dtype=np.float64) + 1
        traces += _band(cell.rule, x, Band(*(part[kept] for part in band)), styles, by)
    axes = _axes("epoch", axis)
    if longest <= FEW_EPOCHS:
        axes["xaxis"]["dtick"] = 1
    return "", traces, axes


def _band(
    rule: str, x: Floats, band: Band, styles: Mapping[str, int], by: float
) -> list[Trace]:  # fmt: skip
    """A curve over its interval; nothing where there is no number."""
    known = np.isfinite(band.mean)
    if not known.any():
        return []
    name, common = _text(rule), {"rule": rule, "style": styles[rule]}
    line: Trace = {
        "type": "scatter", "mode": "lines", "name": name, "x": _list(x[known], 1),
        "y": _list(band.mean[known], by), "meta": common,
        "hovertemplate": "%{fullData.name}: %{y:.4~g} at %{x}<extra></extra>",
    }  # fmt: skip
    sure = known & np.isfinite(band.low) & np.isfinite(band.high)
    if not sure.any():
        return [line]
    around = np.concatenate([x[sure], x[sure][::-1]])
    edge = np.concatenate([band.high[sure], band.low[sure][::-1]])
    area: Trace = {
        "type": "scatter", "mode": "lines", "name": name, "x": _list(around, 1),
        "y": _list(edge, by), "fill": "toself", "hoverinfo": "skip", "line": {"width": 0},
        "meta": {**common, "band": True},
    }  # fmt: skip
    return [area, line]


def _depth(
    cells: Iterable[Cell], styles: Mapping[str, int]
) -> tuple[str, list[Trace], dict[str, Any]]:
    traces = []
    for cell in cells:
        names, band = layers(cell), final_alignment(cell)
        if not np.isfinite(band.mean).any():
            continue
        half = np.where(np.isfinite(band.high), band.high - band.mean, 0)
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": _text(cell.rule),
            "x": [_text(n) for n in names], "y": _list(band.mean, 1),
            "error_y": {"type": "data", "array": _list(half, 1)},
            "hovertemplate": "%{fullData.name}: %{y:.3f} in layer %{x}<extra></extra>",
            "meta": {"rule": cell.rule, "style": styles[cell.rule]},
        })  # fmt: skip
    axes = _axes("layer", "cosine with the gradient")
    axes["xaxis"]["type"] = "category"
    return "", traces, axes


def _cost_variants(
    cells: Sequence[Cell], styles: Mapping[str, int]
) -> list[tuple[str, list[Trace], dict[str, Any]]]:
    measures = {
        "training time": ("seconds of training for a seed", train_seconds, 1.0),
        "forward-pass equivalents": (
            "cost of a step in forward passes",
            lambda c: cost(c, "forward_equivalents"),
            1.0,
        ),
        "peak memory": ("peak memory (MiB)", lambda c: cost(c, "peak_bytes"), 2.0**-20),
    }
    variants = []
    for name, (axis, measure, factor) in measures.items():
        traces: list[Trace] = []
        for cell in cells:
            x, found = measure(cell), cell.estimate
            if x is None or x <= 0 or found is None:
                continue
            traces.append({
                "type": "scatter", "mode": "markers", "name": _text(cell.rule),
                "x": [float(f"{x * factor:.4g}")], "y": [_short(100 * found.value)],
                "error_y": _error(found, 100),
                "hovertemplate": "%{fullData.name}: %{y:.2f} % for %{x:.3~g}<extra></extra>",
                "meta": {"rule": cell.rule, "style": styles[cell.rule]},
            })  # fmt: skip
        if traces:
            axes = _axes(axis, "test accuracy (%)")
            axes["xaxis"] |= {"type": "log", **_log_ticks([t["x"][0] for t in traces])}
            variants.append((name, traces, axes))
    return variants


def _axes(x: str, y: str) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}


def _log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Ticks at 1, 2 and 5 times powers of ten, or at all whole multiples where these are few."""
    low, high = min(values) / 1.3, max(values) * 1.3
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1, 2, 5), range(1, 10)):
        steps = [float(f"{m}e{k}") for k in powers for m in multiples]
        shown = [v for v in steps if low <= v <= high]
        if len(shown) > 2:
            break
    return {
        "range": [_short(math.log10(low)), _short(math.log10(high))],
        "tickvals": shown, "ticktext": [f"{v:,g}" for v in shown],
    }  # fmt: skip


def _error(found: Any, by: float) -> dict[str, Any]:
    """A plotly error bar of an estimate's interval."""
    sure = math.isfinite(found.low) and math.isfinite(found.high)
    up, down = (found.high - found.value, found.value - found.low) if sure else (0.0, 0.0)
    return {
        "type": "data", "symmetric": False,
        "array": [_short(by * up)], "arrayminus": [_short(by * down)],
    }  # fmt: skip


def thinned(count: int) -> list[int]:
    """Which of `count` epochs a figure shows: all, or evenly spread ones with both ends."""
    if count <= MOST_POINTS:
        return list(range(count))
    return sorted({round(i * (count - 1) / (MOST_POINTS - 1)) for i in range(MOST_POINTS)})


def _list(values: Floats, by: float) -> list[float | None]:
    return [_short(by * v) if math.isfinite(v) else None for v in values.tolist()]


def _short(value: float) -> float:
    """Rounded to what a plot can show."""
    return float(f"{value:.5g}")


def _text(text: str) -> str:
    """Text that plotly shows as it stands: it reads a few HTML tags."""
    return html.escape(plain(text))
