"""The figures of sweeps: every rule's score over the number that a suite varies."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bioplaus.analysis.sweeps import WORDS, Sweep

from .figures import Figure, Styles
from .svg import Chart, linear, logarithmic, scores


def sweep_figures(found: Sequence[Sweep], styles: Styles) -> list[Figure]:
    """One for each sweep."""
    return [_figure(sweep, number, styles) for number, sweep in enumerate(found)]


def _figure(sweep: Sweep, number: int, styles: Styles) -> Figure:
    points = {rule: line for rule, line in sweep.accuracies().items() if line}
    metric = sweep.boards[0].metric
    k, least, most = metric.factor, metric.least, metric.most
    bounds = [v for line in points.values() for point in line for v in point[1:]]
    known = [k * min(max(v, least), most) for v in bounds if math.isfinite(v)]
    words, values = WORDS[sweep.field], list(sweep.values)
    positive = min(values) > 0 and max(values) / min(values) > 4
    x = logarithmic(words, values) if positive else linear(words, values)
    chart = Chart(x, scores(metric, "test", "by the error", known))
    for rule, line in points.items():
        start, style = len(chart.parts), styles[rule]
        chart.line([(value, k * mean) for value, mean, *_ in line], style, rule)
        for value, mean, low, high in line:
            said = f"{rule}, {value:g}: {metric.text(mean)}"
            if math.isfinite(low) and math.isfinite(high):
                chart.bar((value, k * low), (value, k * high), style)
                said += f" ({metric.shown(low)} to {metric.shown(high)})"
            chart.mark(value, k * mean, style, said, 3.6)
        chart.group(rule, start)
    title = f"{sweep.title}: {metric.words} over {words}"
    return Figure(
        f"sweep-{number}", title,
        "Means over seeds with their 95 % intervals; each rule was tuned anew at each place, where "
        "the suite tunes. Rules that cannot train the task are not drawn.",
        chart.svg(title),
    )  # fmt: skip
