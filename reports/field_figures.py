"""The picture of the field: all rules over all tasks, against plausibility, cost and each other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from bioplaus.analysis.field import Field, Overall
from bioplaus.analysis.statistics import Difference, probability_of_improvement
from bioplaus.records.metric import Metric

from .figures import Figure, Styles, rows
from .profiles import Profile
from .standing import Standings
from .svg import COLOURS, Axis, Chart, labels, linear, logarithmic, text

LARGEST_MATRIX = 40


def field_figures(
    whole: Field, found: Standings, profiles: Mapping[str, Profile], styles: Styles
) -> list[Figure]:
    """What there are numbers for."""
    made = [
        _against_plausibility(found, profiles, styles),
        _against_cost(found, styles),
        _forest(found, styles),
        _matrix(whole),
        _critical_difference(whole, styles),
    ]
    return [f for f in made if f is not None]


def _against_plausibility(
    found: Standings, profiles: Mapping[str, Profile], styles: Styles
) -> Figure | None:
    known = {r: d for r, d in found.to_reference.items() if profiles[r].known}
    if found.reference is None or not known or not profiles[found.reference].known:
        return None
    everyone: dict[str, Difference | None] = {**known, found.reference: None}
    most = max(p.known for p in profiles.values())
    top = max(profiles[r].filled for r in everyone)
    axis = linear("properties that ask nothing special of a brain", [0, top], low=-0.5,
                  high=min(most, top + 1) + 0.5)  # fmt: skip
    chart = Chart(axis, _gap(found, list(known.values())), height=400)
    _zero(chart)
    beside: dict[int, int] = {}
    points = []
    for rule, d in sorted(everyone.items(), key=lambda item: item[0]):
        score = profiles[rule].filled
        beside[score] = beside.get(score, -1) + 1
        # side by side where several have as many, in the order of their names
        x = score + 0.09 * ((beside[score] + 1) // 2) * (-1) ** beside[score]
        points.append((x, rule, d))
    beyond = _scatter(chart, points, styles, found.metric)
    words = found.metric.words
    return Figure(
        "plausibility-figure", f"{words.capitalize()} against plausibility",
        f"Further right asks less of a brain (of {most} properties), further "
        f"{_better_way(found.metric)} is better. The line is {found.reference}; bars are 95 % "
        f"intervals.{beyond}",
        chart.svg(f"Difference in {words} against plausibility"),
    )  # fmt: skip


def _against_cost(found: Standings, styles: Styles) -> Figure | None:
    known = {r: c for r, c in found.cost.items() if r in found.to_reference}
    if found.reference is None or len(known) < 2:
        return None
    gaps = [found.to_reference[r] for r in known]
    title = f"cost of a step, times {found.reference}'s"
    values = [*known.values(), 1.0]
    chart = Chart(logarithmic(title, values), _gap(found, gaps), height=400)
    _zero(chart)
    points = [(c, r, found.to_reference[r]) for r, c in known.items()]
    beyond = _scatter(chart, [*points, (1.0, found.reference, None)], styles, found.metric)
    words = found.metric.words
    return Figure(
        "cost-figure", f"{words.capitalize()} against cost",
        f"{_better_way(found.metric).capitalize()} and to the left is better. Cost is "
        f"{found.cost_of}; the line is {found.reference}.{beyond}",
        chart.svg(f"Difference in {words} against cost"),
    )  # fmt: skip


def _scatter(
    chart: Chart,
    points: Sequence[tuple[float, str, Difference | None]],
    styles: Styles,
    metric: Metric,
) -> str:
    """Draws the points; names in words what lies beyond the scale, where an arrow stands."""
    shown, k, beyond = [], metric.factor, []
    for x, rule, d in points:
        start, y = len(chart.parts), k * d.value if d else 0.0
        words = f"{rule}: {metric.signed(d.value if d else 0.0)} {metric.steps}"
        if not chart.y.holds(y) and d:
            beyond.append((d.value, f"{rule} {metric.signed(d.value)}"))
        elif d and not math.isnan(d.low):
            chart.bar((x, k * d.low), (x, k * d.high), styles[rule])
        chart.mark(x, y, styles[rule], words)
        chart.group(rule, start)
        inside = min(max(y, chart.y.low), chart.y.high)
        shown.append((x, inside, rule, styles[rule]))
    labels(chart, shown)
    listed = ", ".join(words for _, words in sorted(beyond, reverse=True))
    return f" Arrows lie off the scale: {listed}." if beyond else ""


def _forest(found: Standings, styles: Styles) -> Figure | None:
    ordered = [o.rule for o in found.placed if o.rule in found.to_reference]
    if found.reference is None or not ordered:
        return None
    metric = found.metric
    axis = _gap(found, [found.to_reference[r] for r in ordered])
    chart = rows(axis, ordered, right=84)
    _, top, right, bottom = chart.frame
    if found.test_error:
        half = 100 * found.test_error
        (x1, _), (x2, _) = (chart.at(min(max(v, axis.low), axis.high), 0) for v in (-half, half))
        chart.add(f'<rect class="margin" x="{x1:.1f}" y="{top}" width="{x2 - x1:.1f}" '
                  f'height="{bottom - top:g}"/>')  # fmt: skip
    px = chart.at(0, 0)[0]
    chart.add(f'<path class="zero" d="M{px:.1f} {top}V{bottom}"/>')
    for i, rule in enumerate(ordered):
        start, d = len(chart.parts), found.to_reference[rule]
        low, value, high = (metric.factor * v for v in (d.low, d.value, d.high))
        if not math.isnan(low) and high >= axis.low and low <= axis.high:
            chart.bar((low, i), (high, i), styles[rule])
        chart.mark(value, i, styles[rule], f"{rule}: {metric.signed(d.value)} {metric.steps}")
        py = chart.at(axis.high, i)[1]
        chart.add(f'<text class="beside" x="{right + 8:g}" y="{py + 4:.1f}">'
                  f"p {text(found.p_words(rule))}</text>")  # fmt: skip
        chart.group(rule, start)
    note = (" The grey band is the test set's own standard error: a smaller gap might turn around "
            "on other examples." if found.test_error else "")  # fmt: skip
    return Figure(
        "forest", f"Difference to {found.reference}",
        f"{'Points' if metric.unit else 'Differences'} of test {metric.words} over the tasks that "
        "both have, with 95 % intervals of the pair alone, and p-values adjusted for all pairs."
        f"{note}",
        chart.svg(f"Difference to {found.reference}"),
    )  # fmt: skip


def _matrix(whole: Field) -> Figure | None:
    order = [o.rule for o in whole.standings]
    if not 2 < len(order) <= LARGEST_MATRIX:
        return None
    size, left, top = 25, 16 + round(6.6 * max(map(len, order))), 8
    height = top + size * len(order) + 16 + round(5.2 * max(map(len, order)))
    width = left + size * len(order) + round(3.4 * max(map(len, order)))
    out = [f'<svg class="chart matrix" viewBox="0 0 {width} {height}" role="img" '
           f'aria-label="P(better)">']  # fmt: skip
    for i, a in enumerate(order):
        y = top + size * i
        out.append(f'<text class="tick y" x="{left - 6}" y="{y + 16}">{text(a)}</text>')
        x, base = left + size * i + 10, top + size * len(order) + 12
        out.append(f'<text class="tick slanted" transform="translate({x} {base}) rotate(50)">'
                   f"{text(a)}</text>")  # fmt: skip
        for j, b in enumerate(order):
            p = _better(whole, a, b)
            if a == b or p is None:
                continue
            strength, side = abs(2 * p - 1), "up" if p > 0.5 else "down"
            out.append(
                f'<g class="square"><title>{text(a)} better than {text(b)}: {p:.2f}</title>'
                f'<rect class="{side}" x="{left + size * j}" y="{y}" width="{size - 1}" '
                f'height="{size - 1}" fill-opacity="{0.08 + 0.72 * strength:.2f}"/>'
                f'<text x="{left + size * j + 12}" y="{y + 16}">{_hundredths(p)}</text></g>'
            )
    return Figure(
        "matrix", "How often is one better?",
        "The chance in percent that a seed of the rule on the left does better than one of the "
        "rule below, over the tasks that both have.", "".join([*out, "</svg>"]),
    )  # fmt: skip


def _better(whole: Field, a: str, b: str) -> float | None:
    joint = whole.joints.get((a, b))
    if joint is None:
        return None
    return statistics.fmean(
        probability_of_improvement(c.a.merits(), c.b.merits()).value for c in joint.parts
    )


def _hundredths(p: float) -> str:
    return f"{100 * p:.0f}"


def _critical_difference(whole: Field, styles: Styles) -> Figure | None:
    """Rules by mean rank, and bars over those that nothing separates from one another."""
    placed = {o.rule: _mean_rank(whole, o) for o in whole.standings}
    if len(placed) < 3:
        return None
    order = sorted(placed, key=lambda r: (placed[r], r))
    bars = _cliques(whole, order)
    deep = (len(order) + 1) // 2
    axis = linear("mean rank over its tasks", list(placed.values()))
    down = Axis("", 0, deep + len(bars) + 1.5, ())
    chart = Chart(axis, down, left=170, right=190, width=760, top=8, downward=True,
                  height=70 + 17 * (deep + len(bars)))  # fmt: skip
    for k, (first, last) in enumerate(bars):
        (x1, y), (x2, _) = (chart.at(placed[r], k + 0.7) for r in (first, last))
        chart.add(f'<path class="clique" d="M{x1 - 4:.1f} {y:.1f}H{x2 + 4:.1f}"/>')
    for i, rule in enumerate(order):
        start, style = len(chart.parts), styles[rule]
        half = i < deep
        row = len(bars) + 1 + (i if half else len(order) - 1 - i)
        px, py = chart.at(placed[rule], row)
        edge = chart.left if half else chart.width - chart.right
        chart.add(f'<path class="leader s{style % COLOURS}" d="M{px:.1f} {chart.top}V{py:.1f}'
                  f'H{edge}"/>')  # fmt: skip
        anchor = "end" if half else "start"
        beside = edge + (-5 if half else 5)
        chart.add(f'<text class="label s{style % COLOURS}" text-anchor="{anchor}" x="{beside}" '
                  f'y="{py + 4:.1f}">{text(rule)}</text>')  # fmt: skip
        chart.mark(placed[rule], row, style, f"{rule}: mean rank {placed[rule]:.2f}", 3.4)
        chart.group(rule, start)
    return Figure(
        "critical", "Critical differences",
        "Rules by their mean rank over the tasks that they train, the best at the left. Thick bars "
        "join rules of which no two are separated after the correction for all pairs.",
        chart.svg("Critical differences"), wide=True,
    )  # fmt: skip


def _mean_rank(whole: Field, o: Overall) -> float:
    ranks = []
    for board in whole.boards:
        if board.task in o.cells:
            order = [s.cell.expected for s in board.standings]
            mine = o.cells[board.task].expected
            ranks.append(1 + sum(v > mine for v in order) + (sum(v == mine for v in order) - 1) / 2)
    return statistics.fmean(ranks)


def _cliques(whole: Field, order: Sequence[str]) -> list[tuple[str, str]]:
    """First and last of each longest run of rules that are not separated from one another."""
    found: list[tuple[int, int]] = []
    for i in range(len(order)):
        j = i
        while j + 1 < len(order) and all(
            not ((joint := whole.joints.get((order[k], order[j + 1]))) and joint.better)
            for k in range(i, j + 1)
        ):
            j += 1
        if j > i and (not found or found[-1][1] < j):
            found.append((i, j))
    return [(order[i], order[j]) for i, j in found]


def _gap(found: Standings, gaps: Sequence[Difference | None]) -> Axis:
    """The axis of differences, which leaves what lies far out to arrows."""
    known, k = [d for d in gaps if d is not None], found.metric.factor
    size = sorted(abs(k * d.value) for d in known)
    least = 2.0 if found.metric.unit else 1e-9
    far = max(least, 4 * size[len(size) * 2 // 3]) if size else least
    ends = [0.0, *(min(max(k * v, -far), far) for d in known
                   for v in (d.low, d.value, d.high)
                   if not math.isnan(v) and abs(k * d.value) <= far)]  # fmt: skip
    return linear(f"{_points(found.metric)} above {found.reference}", ends)


def _points(metric: Metric) -> str:
    return f"points of {metric.words}" if metric.unit else metric.words


def _better_way(metric: Metric) -> str:
    return "down" if metric.lower_is_better else "up"


def _zero(chart: Chart) -> None:
    left, _, right, _ = chart.frame
    py = chart.at(chart.x.low, 0)[1]
    chart.add(f'<path class="zero" d="M{left} {py:.1f}H{right}"/>')
