"""One example's spikes and potentials as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bioplaus.axes.one_example import OneExample, Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MANY = 1000
"""Marks, beyond which a raster is drawn in pixels."""


def draw(example: OneExample, path: str, units: int) -> None:
    """A row a layer: a raster of all its units, and the potentials of those that spike most."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    layers = example.layers
    heights = [1.2 + min(1.8, layer.spikes.shape[1] / 120) for layer in layers]
    figure = Figure(figsize=(9.6, 1.0 + sum(heights)), layout="constrained")
    rows = figure.subplots(
        len(layers), 2, squeeze=False, gridspec_kw={"height_ratios": heights}, sharex=False
    )
    for layer, (left, right) in zip(layers, rows, strict=True):
        _raster(left, layer)
        if layer.potentials is None:
            _picture(right, example)
        else:
            _membranes(right, layer, units)
        for axis in (left.xaxis, right.xaxis):
            axis.set_major_locator(MaxNLocator(10, integer=True))
        left.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    for panel in rows[-1]:
        panel.set_xlabel("step")
    figure.suptitle(f"{example.title}\n{_outcome(example)}", fontsize=10)
    figure.savefig(path, dpi=120, metadata={"Date": None} if path.endswith(".svg") else None)


def _outcome(example: OneExample) -> str:
    winner = int(np.argmax(example.answers))
    tied = int((example.answers == example.answers[winner]).sum()) - 1
    said = f"answer {winner}" + (f" (a tie of {tied + 1})" if tied else "")
    label = "" if example.label is None else f"label {example.label}, "
    cost = f"{example.spikes:,.0f} spikes, {example.synaptic_operations:,.0f} synaptic operations"
    return f"{label}{said}; {cost}"


def _raster(panel: Axes, layer: Shown) -> None:
    steps, units = layer.spikes.shape
    when, which = np.nonzero(layer.spikes)
    size = max(1.0, min(12.0, 110.0 / units))
    panel.scatter(
        when + 1, which, marker="|", s=size * 6, linewidths=1.1, color="C0",
        rasterized=len(when) > _MANY,
    )  # fmt: skip
    panel.set(xlim=(0.5, steps + 0.5), ylim=(units - 0.5, -0.5), ylabel="unit")
    panel.set_title(f"{layer.name}: {units} units, {len(when):,} spikes", fontsize=9)


def _membranes(panel: Axes, layer: Shown, units: int) -> None:
    assert layer.potentials is not None
    steps = len(layer.potentials)
    when = np.arange(1, steps + 1)
    busiest = np.argsort(-layer.spikes.sum(0), kind="stable")[:units]
    for number, unit in enumerate(busiest):
        potential, fired = layer.potentials[:, unit], layer.spikes[:, unit] > 0
        colour = f"C{number}"
        panel.plot(when, potential, color=colour, linewidth=1.1, label=f"unit {unit}")
        panel.plot(when[fired], potential[fired], "o", color=colour, markersize=3)
        if layer.thresholds.ndim:
            panel.plot(when, layer.thresholds[:, unit], color=colour, linestyle="--", linewidth=0.8)
    if not layer.thresholds.ndim:
        panel.axhline(float(layer.thresholds), color="0.4", linestyle="--", linewidth=0.8)
    panel.set(xlim=(0.5, steps + 0.5), ylabel="potential")
    panel.set_title("potentials before the reset; dashed: the threshold", fontsize=9)
    panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _picture(panel: Axes, example: OneExample) -> None:
    panel.set_axis_off()
    if example.image is not None:
        panel.imshow(example.image, cmap="gray_r", interpolation="nearest")
        panel.set_title("the example", fontsize=9)
