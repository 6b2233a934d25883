"""Curves and bands cut where an axis ends: what is drawn of them stays as steep as it was."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

Point = tuple[float, float]


def line_within(points: Sequence[Point], top: float, bottom: float) -> list[list[Point]]:
    """The pieces of a polyline between two heights, top <= bottom; [] where there are none.

    >>> line_within([(0.0, 0.0), (4.0, 8.0)], 2.0, 6.0)
    [[(1.0, 2.0), (3.0, 6.0)]]
    """
    if len(points) == 1:
        return [list(points)] if top <= points[0][1] <= bottom else []
    pieces: list[list[Point]] = []
    for a, b in itertools.pairwise(points):
        piece = _segment(a, b, top, bottom)
        if piece is None:
            continue
        if pieces and pieces[-1][-1] == piece[0]:
            pieces[-1].append(piece[1])
        else:
            pieces.append(list(piece))
    return pieces


def _segment(a: Point, b: Point, top: float, bottom: float) -> tuple[Point, Point] | None:
    low, high = min(a[1], b[1]), max(a[1], b[1])
    if high < top or low > bottom:
        return None
    return _moved(a, b, top, bottom), _moved(b, a, top, bottom)


def _moved(point: Point, towards: Point, top: float, bottom: float) -> Point:
    """Along the segment to where it enters the strip; a point inside of it stays."""
    edge = min(max(point[1], top), bottom)
    return point if edge == point[1] else _crossing(point, towards, edge)


def _crossing(a: Point, b: Point, edge: float) -> Point:
    return a[0] + (b[0] - a[0]) * (edge - a[1]) / (b[1] - a[1]), edge


def area_within(points: Sequence[Point], top: float, bottom: float) -> list[Point]:
    """The part of a polygon between two heights; [] where there is none.

    Half-plane after half-plane (Sutherland, Hodgman 1974).
    """
    kept = list(points)
    for edge, sign in ((top, 1.0), (bottom, -1.0)):
        found: list[Point] = []
        for a, b in zip([*kept[-1:], *kept], kept, strict=False):
            inside_a, inside_b = (sign * (p[1] - edge) >= 0 for p in (a, b))
            if inside_a != inside_b:
                found.append(_crossing(a, b, edge))
            if inside_b:
                found.append(b)
        kept = found
    return kept
