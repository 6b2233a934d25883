"""Speed over the number of seeds, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioplaus.speed.measure import Row


def draw(rows: Sequence[Row], path: str) -> None:
    """Seed-steps a second over seeds, both logarithmic, one panel a task; the eager loop dashed."""
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row.task for row in rows))
    figure = Figure(figsize=(4.6 * len(tasks), 3.6), layout="constrained")
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for panel, task in zip(panels, tasks, strict=True):
        here = [row for row in rows if row.task == task]
        for rule in dict.fromkeys(row.rule for row in here):
            line = sorted((r.replicas, r.seed_steps_per_second) for r in here if r.rule == rule)
            panel.plot(*zip(*line, strict=True), marker="o", markersize=4, label=rule)
        eager = [r.eager_steps_per_second for r in here if r.eager_steps_per_second]
        if eager:
            panel.axhline(max(eager), color="0.4", linestyle="--", label="plain torch, backprop")
        counts = sorted({row.replicas for row in here})
        panel.set(xscale="log", yscale="log", title=task, xlabel="seeds trained together")
        panel.set_xticks(counts, [str(n) for n in counts])
        panel.minorticks_off()
        panel.set_ylabel("seed-steps a second")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)
