"""All runs of the rules that have every task in common: performance profiles, middle halves."""

from __future__ import annotations

import math

import numpy as np

from bioplaus.analysis.aggregate import THRESHOLDS, Aggregate

from .figures import Figure, Styles, rows
from .svg import Chart, accuracies, linear, text


def runs_figures(found: Aggregate, styles: Styles) -> list[Figure]:
    """Performance profiles and interquartile means, over the tasks that these rules have."""
    percent = 100 * np.array(THRESHOLDS)
    seen = [int(i) for o in found.rules for i in np.flatnonzero(o.profile[0] < 1)[:1]]
    first = max(0, min(seen, default=190) - 2)
    x = accuracies("test accuracy (%), spaced by the error", [float(percent[first]), 99.5], 0.5)
    chart = Chart(x, linear("runs above it (%)", [0, 100], low=-2, high=102))
    for o in found.rules:
        start, style = len(chart.parts), styles[o.rule]
        share, low, high = (100 * part for part in o.profile)
        kept = [i for i in range(first, len(percent)) if x.holds(float(percent[i]))]
        chart.band([(float(percent[i]), float(high[i])) for i in kept],
                   [(float(percent[i]), float(low[i])) for i in kept], style)  # fmt: skip
        chart.line([(float(percent[i]), float(share[i])) for i in kept], style, o.rule)
        chart.group(o.rule, start)
    middle = {o.rule: o.interquartile_mean for o in found.rules}
    values = [100 * v for e in middle.values() for v in e[:3] if not math.isnan(v)]
    table = rows(accuracies("interquartile mean (%), spaced by the error", values, 0.05),
                 list(middle))  # fmt: skip
    for i, (rule, e) in enumerate(middle.items()):
        start = len(table.parts)
        if not math.isnan(e.low):
            table.bar((100 * e.low, i), (100 * e.high, i), styles[rule])
        table.mark(100 * e.value, i, styles[rule], f"{rule}: {100 * e.value:.2f} %")
        table.group(rule, start)
    over = " and ".join(text(b.title) for b in found.boards[:3])
    over += f" and {len(found.boards) - 3} more" if len(found.boards) > 3 else ""
    without = f"; without {', '.join(found.rules_left_out)}" if found.rules_left_out else ""
    return [
        Figure("profiles", "Performance profiles",
               "The share of runs that end above an accuracy: the curve further up and to the "
               f"right is better wherever it is so. Over {over}{without}.",
               chart.svg("Performance profiles")),
        Figure("iqm", "Interquartile mean",
               "The mean of the middle half of all runs with its 95 % interval (Yuen's). "
               f"Over {over}{without}.", table.svg("Interquartile mean")),
    ]  # fmt: skip
