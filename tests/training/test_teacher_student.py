"""Fewer weights need fewer examples: the pruned student of a sparse teacher and its rates."""

from __future__ import annotations

import math

import pytest

from tests.helpers.teacher_student import UNITS, errors, slope, slowest, success

SEEDS = range(10)


@pytest.mark.parametrize("r", [5, 10, 20, 50])
def test_momentum_sets_the_rate(r: int) -> None:
    """T-LT-1: heavy-ball's linear rate sqrt(beta) a step, where the step size lets it."""
    curve = errors(range(1), r, 2000, 500, 2 * UNITS, 0.8)[:, 0]
    assert float(curve[-1]) < 1e-12
    if r <= 20:
        assert slope(curve) == pytest.approx(50 * math.log10(0.8), abs=0.2)


@pytest.mark.parametrize("r", [5, 10])
def test_without_momentum_the_flattest_direction_sets_the_rate(r: int) -> None:
    """T-LT-2's slope is 100 log10(1 - eta lambda_min), and that differs from teacher to teacher.

    A fit also sees what has not died out yet where two directions are nearly as flat.
    """
    seeds = range(7)
    curves = errors(seeds, r, 2000, 400, 2 * UNITS, 0.0)
    gaps = [abs(slope(curves[:, s]) - slowest(s, r, 2000, 2 * UNITS)) for s in seeds]
    assert sorted(gaps)[3] < 0.05
    rates = [slowest(s, r, 2000, 2 * UNITS) for s in seeds]
    assert max(rates) - min(rates) > 0.8, "more than the means of r = 5 and 10 are apart"


def test_without_momentum_more_weights_are_slower() -> None:
    """T-LT-2; r = 5 and 10 differ by less than seeds do."""
    found = []
    for r in (10, 20, 50):
        curves = errors(range(3), r, 2000, 400, 2 * UNITS, 0.0)
        found.append(sum(slope(c) for c in curves.unbind(1)) / 3)
    assert all(v < 0 for v in found)
    assert found == sorted(found), found


@pytest.mark.parametrize("r", [5, 10, 30])
def test_examples_needed_grow_with_the_weights_that_are_left(r: int) -> None:
    """T-LT-3: half of the seeds succeed somewhere between 1.0 and 1.6 r K examples."""
    assert success(SEEDS, r, r * UNITS) < 0.5
    assert success(SEEDS, r, round(1.6 * r * UNITS)) >= 0.5


def test_a_dense_student_needs_what_a_dense_teacher_takes() -> None:
    """T-LT-4: a sparse teacher does not help a student that does not know where."""
    assert success(SEEDS, 5, 50 * UNITS, dense=True) < 0.5
    assert success(SEEDS, 5, round(1.6 * 50 * UNITS), dense=True) >= 0.5
