"""Charts as SVG text: axes that hold their data, marks inside of them, arrows for the rest.

Colours are the page's, through classes: `s3` is the colour of the fourth style. Every mark is
of class `mark` and lies inside the rectangle of class `frame`; what lies beyond an axis gets
an arrow at its edge (class `arrow`) with the number in words, never a place at the edge.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bioplaus.errors import printable
from bioplaus.records.metric import Metric

from .clipping import area_within, line_within

WIDTH, HEIGHT = 520, 340
COLOURS, SHAPES, DASHES = 7, 6, ("", "7 3", "2 3", "8 3 2 3")


@dataclass(frozen=True)
class Axis:
    """One axis: what it shows between, on which scale, and its ticks."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    scale: Callable[[float], float] = float
    """Monotonic; evenly spaced on paper."""

    def share(self, value: float) -> float:
        """Where a value lies, 0 at the low end and 1 at the high one."""
        first, last = self.scale(self.low), self.scale(self.high)
        return (self.scale(value) - first) / (last - first)

    def holds(self, value: float) -> bool:
        """Whether it lies on the axis."""
        return self.low <= value <= self.high


def linear(title: str, values: Sequence[float], low: float | None = None,
           high: float | None = None) -> Axis:  # fmt: skip
    """An axis over all values, or between the bounds given, with round ticks."""
    first = min(values) if low is None else low
    last = max(values) if high is None else high
    pad = (last - first or abs(last) or 1.0) * 0.06
    first, last = first - pad * (low is None), last + pad * (high is None)
    step = _step((last - first) / 5)
    ticks = [k * step for k in range(math.ceil(first / step - 1e-9), int(last / step + 1e-9) + 1)]
    return Axis(title, first, last, tuple((t, f"{t:.10g}") for t in map(_clean, ticks)))


def logarithmic(title: str, values: Sequence[float]) -> Axis:
    """An axis of positive values with ticks at 1, 2 and 5 times powers of ten."""
    first, last = min(values) / 1.4, max(values) * 1.4
    powers = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    shown: list[float] = []
    for multiples in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        steps = [float(f"{m}e{k}") for k in powers for m in multiples]
        shown = [v for v in steps if first <= v <= last]
        if len(shown) > 3:
            break
    return Axis(title, first, last, tuple((v, f"{v:,g}") for v in shown[:9]), math.log10)


MARKS = (-100, -50, 0, 20, 50, 70, 80, 90, 95, 97, 98, 99, 99.5, 99.8, 99.9, 99.95)


def accuracies(title: str, values: Sequence[float], floor: float = 0.02,
               least: float = 0.0) -> Axis:  # fmt: skip
    """Percentages, spaced by the logarithm of the error: 98 to 99 is as far as 80 to 90.

    floor: the smallest error that is told from none. least: where the axis ends at the latest.
    """

    def scale(v: float) -> float:
        return -math.log10(max(100 - v, floor))

    low = 100 - min(100.0 - least, (100 - min(values)) * 1.08 + floor)
    high = 100 - max((100 - max(values)) / 1.15, floor)
    span = (scale(high) - scale(low)) or 1.0
    ticks: list[float] = []
    for mark in MARKS:
        if low <= mark <= high and (not ticks or scale(mark) - scale(ticks[-1]) > span / 12):
            ticks.append(mark)
    return Axis(title, low, max(high, max(values)), tuple((t, f"{t:g}") for t in ticks), scale)


def scores(
    metric: Metric, title: str, spacing: str, values: Sequence[float], floor: float = 0.02
) -> Axis:
    """The axis of a metric as people read it: by the error where it is a percentage."""
    if metric.lower_is_better:
        return linear(f"{title} {metric.heading}", values)
    # R2: to an error of twice that of the mean; what is worse gets an arrow
    least = max(metric.factor * metric.least, -100.0)
    return accuracies(f"{title} {metric.heading}, {spacing}", values, floor, least)


def named(title: str, names: Sequence[str]) -> Axis:
    """An axis of things, the first at 0."""
    ticks = tuple((float(i), name) for i, name in enumerate(names))
    return Axis(title, -0.6, len(names) - 0.4, ticks)


@dataclass
class Chart:
    """A chart that is being drawn."""

    x: Axis
    y: Axis
    width: int = WIDTH
    height: int = HEIGHT
    left: int = 54
    right: int = 12
    top: int = 10
    bottom: int = 44
    downward: bool = False
    """The y axis starts at the top: for rows of names."""
    parts: list[str] = field(default_factory=list)

    @property
    def frame(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the plot."""
        return self.left, self.top, self.width - self.right, self.height - self.bottom

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A place on paper."""
        left, top, right, bottom = self.frame
        up = self.y.share(y)
        return left + (right - left) * self.x.share(x), (
            top + (bottom - top) * up if self.downward else bottom - (bottom - top) * up
        )

    def add(self, *parts: str) -> None:
        """More SVG."""
        self.parts.extend(parts)

    def mark(self, x: float, y: float, style: int, title: str, size: float = 4.2) -> None:
        """A point in a rule's colour and shape, or the arrow that points to where it is."""
        if not (self.x.holds(x) and self.y.holds(y)):
            self.arrow(x, y, style, title)
            return
        px, py = self.at(x, y)
        self.add(f'<path class="mark fill s{style % COLOURS}" d="{shape(style, px, py, size)}">'
                 f"<title>{text(title)}</title></path>")  # fmt: skip

    def arrow(self, x: float, y: float, style: int, title: str) -> None:
        """At the edge, towards a value beyond the axis."""
        px, py = self.at(_bounded(x, self.x), _bounded(y, self.y))
        left, _, right, bottom = self.frame
        if not self.x.holds(x):
            d, px = (-1, max(px, left + 9)) if x < self.x.low else (1, min(px, right - 9))
            path = f"M{px - 7 * d:.1f} {py:.1f}h{9 * d}m{-4 * d} -3.5l{4 * d} 3.5l{-4 * d} 3.5"
        else:
            d = 1 if (y < self.y.low) != self.downward else -1
            py = min(py, bottom - 9) if d > 0 else py + 9
            path = f"M{px:.1f} {py - 7 * d:.1f}v{9 * d}m-3.5 {-4 * d}l3.5 {4 * d}l3.5 {-4 * d}"
        self.add(f'<path class="arrow s{style % COLOURS}" d="{path}">'
                 f"<title>{text(title)} (beyond the axis)</title></path>")  # fmt: skip

    def line(self, points: Sequence[tuple[float, float]], style: int, title: str) -> None:
        """A curve in a rule's colour and dash, cut where the y axis ends."""
        _, top, _, bottom = self.frame
        pieces = line_within([self.at(*p) for p in points], top, bottom)
        if not pieces:
            return
        path = "M".join("L".join(f"{px:.1f} {py:.1f}" for px, py in piece) for piece in pieces)
        dash = DASHES[style // COLOURS % len(DASHES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.add(f'<path class="curve mark s{style % COLOURS}" d="M{path}"{dashed}>'
                 f"<title>{text(title)}</title></path>")  # fmt: skip

    def band(self, upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]],
             style: int) -> None:  # fmt: skip
        """The interval around a curve, cut where the y axis ends."""
        _, top, _, bottom = self.frame
        around = area_within([self.at(*p) for p in [*upper, *reversed(lower)]], top, bottom)
        if not around:
            return
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in around)
        self.add(f'<path class="band s{style % COLOURS}" d="M{path}Z"/>')

    def bar(self, a: tuple[float, float], b: tuple[float, float], style: int) -> None:
        """An interval, cut where the axis ends."""
        (x1, y1), (x2, y2) = (self.at(_bounded(x, self.x), _bounded(y, self.y)) for x, y in (a, b))
        self.add(f'<path class="bar s{style % COLOURS}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>')

    def group(self, rule: str, start: int) -> None:
        """Mark what was added since as one rule's: its switch hides it."""
        inner = "".join(self.parts[start:])
        if inner:
            self.parts[start:] = [f'<g data-rule="{text(rule)}">{inner}</g>']

    def svg(self, label: str) -> str:
        """The whole."""
        left, top, right, bottom = self.frame
        out = [
            f'<svg class="chart" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{text(label)}">',
            f'<rect class="frame" x="{left}" y="{top}" width="{right - left:g}" '
            f'height="{bottom - top:g}"/>',
        ]
        for value, name in self.x.ticks:
            px = self.at(value, self.y.low)[0]
            place = f'x="{px:.1f}" y="{bottom + 15}"'
            out += [f'<path class="grid" d="M{px:.1f} {top}V{bottom}"/>',
                    f'<text class="tick" {place}>{text(name)}</text>']  # fmt: skip
        for value, name in self.y.ticks:
            py = self.at(self.x.low, value)[1]
            place = f'x="{left - 7}" y="{py + 4:.1f}"'
            out += [f'<path class="grid" d="M{left} {py:.1f}H{right}"/>',
                    f'<text class="tick y" {place}>{text(name)}</text>']  # fmt: skip
        middle = (top + bottom) / 2
        out.append(f'<text class="title" x="{(left + right) / 2:g}" y="{self.height - 6}">'
                   f"{text(self.x.title)}</text>")  # fmt: skip
        if self.y.title:
            out.append(f'<text class="title" transform="translate(13 {middle:g}) rotate(-90)">'
                       f"{text(self.y.title)}</text>")  # fmt: skip
        return "".join([*out, *self.parts, "</svg>"])


def shape(style: int, x: float, y: float, r: float) -> str:
    """The path of a style's marker."""
    kind, d = style % SHAPES, 1.25 * r
    if kind == 0:
        return f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z"
    if kind == 1:
        return f"M{x - r * 0.9:.1f} {y - r * 0.9:.1f}h{1.8 * r:.1f}v{1.8 * r:.1f}h{-1.8 * r:.1f}Z"
    if kind == 2:
        return f"M{x:.1f} {y - d:.1f}l{d:.1f} {d:.1f}l{-d:.1f} {d:.1f}l{-d:.1f} {-d:.1f}Z"
    if kind in (3, 4):
        s = 1 if kind == 3 else -1
        return f"M{x:.1f} {y - s * d:.1f}l{d:.1f} {1.8 * s * r:.1f}h{-2 * d:.1f}Z"
    a, c = 0.38 * r, 0.72 * r
    arms = f"h{2 * a:.1f}v{c:.1f}h{c:.1f}v{2 * a:.1f}h{-c:.1f}v{c:.1f}h{-2 * a:.1f}v{-c:.1f}"
    return f"M{x - a:.1f} {y - a - c:.1f}{arms}h{-c:.1f}v{-2 * a:.1f}h{c:.1f}Z"


def labels(chart: Chart, points: Sequence[tuple[float, float, str, int]]) -> None:
    """Names beside points, where they cover neither a point nor one another.

    Further away with a line to the point where there is no room beside it.
    """
    places = [chart.at(_bounded(x, chart.x), _bounded(y, chart.y)) for x, y, _, _ in points]
    taken = [(px - 7, py - 11, px + 7, py + 7) for px, py in places]
    left, top, right, bottom = chart.frame
    order = sorted(range(len(points)), key=lambda i: (places[i][1], places[i][0]))
    for i in order:
        (px, py), name, style = places[i], points[i][2], points[i][3]
        wide = 5.9 * len(name)
        for x, y in _around(wide):
            box = (px + x, py + y - 9, px + x + wide, py + y + 3)
            inside = box[0] >= left and box[2] <= right and box[1] >= top and box[3] <= bottom
            if inside and not any(_overlap(box, other) for other in taken):
                break
        else:
            continue
        taken.append(box)
        start = len(chart.parts)
        if (abs(x) > 12 and abs(x + wide) > 12) or abs(y) > 16:
            edge = px + x if x > 0 else px + x + wide if x + wide < 0 else px
            chart.add(f'<path class="leader" d="M{px:.1f} {py:.1f}L{edge:.1f} {py + y - 3:.1f}"/>')
        chart.add(f'<text class="label s{style % COLOURS}" x="{px + x:.1f}" y="{py + y:.1f}">'
                  f"{text(name)}</text>")  # fmt: skip
        chart.group(name, start)


def _around(wide: float) -> list[tuple[float, float]]:
    near = [(8.0, 4.0), (-wide - 8, 4.0), (-wide / 2, -8.0), (-wide / 2, 17.0)]
    for far in (14, 26, 40, 56, 74, 94):
        for y in (-far, far + 8):
            near += [(8.0, y), (-wide - 8, y), (-wide / 2, y), (26.0, y), (-wide - 26, y)]
    return near


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def text(content: str) -> str:
    """Text and attributes that hold what a stranger may have chosen."""
    return html.escape(printable(content))


def _bounded(value: float, axis: Axis) -> float:
    return min(max(value, axis.low), axis.high)


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)


def _clean(value: float) -> float:
    return float(f"{value:.10g}")
