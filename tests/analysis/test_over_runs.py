"""Aggregates over runs: by hand, against scipy, and how often their intervals cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from bioplaus.analysis.over_runs import interquartile_mean, performance_profile
from tests.helpers.boards import SPREADS


def test_interquartile_mean_drops_a_quarter_on_both_sides() -> None:
    # 8 runs: the middle four are 0.3 0.4 0.5 0.6
    found = interquartile_mean([[0.0, 0.3, 0.5, 0.9], [0.1, 0.4, 0.6, 1.0]])
    assert found.value == pytest.approx(0.45)
    assert found.low <= found.value <= found.high and found.n == 8


@pytest.mark.parametrize("n", [2, 3, 7, 20])
def test_interquartile_mean_is_scipys_trimmed_mean(n: int) -> None:
    x = np.random.default_rng(n).random(n)
    expected = scipy.stats.trim_mean(x, 0.25)
    assert interquartile_mean([x]).value == pytest.approx(expected, rel=1e-14)


def test_the_error_of_one_task_is_yuens() -> None:
    """(n - 1) s_w^2 / (h (h - 1)), s_w of the winsorised runs: the formula of the paper."""
    x = np.arange(8.0) ** 2
    found = interquartile_mean([x])
    winsorised = np.clip(x, 4.0, 25.0)  # the middle four of 0 1 4 9 16 25 36 49
    error = math.sqrt(7 * winsorised.var(ddof=1) / (4 * 3))
    half = scipy.stats.t.ppf(0.975, 7 * 4 / 8) * error
    assert found[:3] == pytest.approx((13.5, 13.5 - half, 13.5 + half), rel=1e-12)


def test_tasks_without_spread_leave_nothing_to_chance() -> None:
    found = interquartile_mean([[0.1] * 4, [0.5] * 4, [0.9] * 4])
    assert found.low == found.value == found.high == pytest.approx(0.5)
    assert math.isnan(interquartile_mean([[0.1], [0.2]]).low)


@pytest.mark.parametrize(
    ("means", "seeds"),
    [((0.95, 0.95), 5), ((0.98, 0.93), 5), ((0.98, 0.93), 3), ((0.97, 0.6), 3),
     ((0.98, 0.97, 0.96, 0.9), 5), ((0.9,) * 12, 3)],
)  # fmt: skip
def test_the_interval_of_the_interquartile_mean_covers(
    means: tuple[float, ...], seeds: int
) -> None:
    """The bootstrap's covered 90 % (2 tasks of 5 runs) and 83.5 % (2 of 3)."""
    rng = np.random.default_rng(seeds)
    spreads = np.resize(SPREADS, len(means))

    def board(runs: int) -> list[np.ndarray]:
        return [m + s * rng.standard_normal(runs) for m, s in zip(means, spreads, strict=True)]

    truth = interquartile_mean(board(100_000)).value
    found = [interquartile_mean(board(seeds)) for _ in range(600)]
    covered = np.mean([f.low <= truth <= f.high for f in found])
    # three standard errors of a share of 600 about 95 % are 2.7
    assert covered >= 0.923, covered


def test_performance_profile_by_hand() -> None:
    share, low, high = performance_profile([[0.2, 0.8], [0.6, 0.6, 0.9]], [0.1, 0.5, 0.7, 0.95])
    assert share == pytest.approx([1.0, (0.5 + 1) / 2, (0.5 + 1 / 3) / 2, 0.0])
    assert (low <= share).all() and (share <= high).all()
