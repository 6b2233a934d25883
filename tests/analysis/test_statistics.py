"""Statistics against scipy, values worked out by hand, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bioplaus.analysis.statistics import (
    RESAMPLES,
    holm,
    mean_bands,
    mean_interval,
    paired_difference,
    pooled_difference,
    probability_of_improvement,
    rank_intervals,
    rate_difference_p,
    welch_difference,
)

A = [0.98, 0.97, 0.99, 0.96, 0.97]
B = [0.95, 0.97, 0.96, 0.93, 0.95]
TEST_EXAMPLES = 360
"""The digits' test split: accuracies are multiples of 1/360."""
SPREADS = [0.0065, 0.0028, 0.0046, 0.0036, 0.0070, 0.0103, 0.0194, 0.0181, 0.0119, 0.0087]
"""Standard deviations over seeds in docs/results/digits.md."""


def test_few_seeds_have_a_t_interval() -> None:
    found = mean_interval(A)
    low, high = scipy.stats.t.interval(0.95, 4, np.mean(A), scipy.stats.sem(A))
    assert found == pytest.approx((0.974, low, high, 5), rel=1e-12)
    # by hand: s = sqrt(0.00052 / 4), t = 2.776445
    half = 2.776445 * math.sqrt(0.00013 / 5)
    assert found.high - found.value == pytest.approx(half, rel=1e-6)


def test_many_seeds_have_a_bca_interval() -> None:
    x = np.random.default_rng(1).exponential(size=40)
    found = mean_interval(x)
    assert found.low < found.value < found.high
    assert found.high - found.value > found.value - found.low, "follows the skew; t would not"
    assert mean_interval(x) == found, "the same numbers each time"
    assert mean_interval([0.5] * 30) == (0.5, 0.5, 0.5, 30)


@pytest.mark.parametrize("n", [20, 33, 64])
def test_the_bca_interval_is_scipys(n: int) -> None:
    x = np.random.default_rng(n).beta(9, 2, size=n)
    other = scipy.stats.bootstrap(
        (x,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    assert mean_interval(x)[1:3] == pytest.approx((other.low, other.high), rel=1e-12)


def test_rounding_decides_no_ties_of_the_bca_interval() -> None:
    # of 20 scores on a coarse grid many resamples have the very mean of the scores
    x = np.random.default_rng(3).integers(80, 90, size=20)
    found, exact = mean_interval(x / 100), mean_interval(x)
    assert [100 * v for v in found[:3]] == pytest.approx(exact[:3], rel=1e-12)


def test_one_score_has_no_interval_and_none_no_mean() -> None:
    found = mean_interval([0.9])
    assert (found.value, found.n) == (0.9, 1) and math.isnan(found.low) and math.isnan(found.high)
    with pytest.raises(ValueError, match="at least 1"):
        mean_interval([])
    with pytest.raises(ValueError, match="finite"):
        mean_interval([0.1, math.nan])


def test_bands_are_the_intervals_of_each_column() -> None:
    rows = np.array([[0.1, 0.5, math.nan], [0.3, math.nan, math.nan], [0.8, 0.7, math.nan]])
    mean, low, high = mean_bands(rows)
    assert (mean[0], low[0], high[0]) == pytest.approx(mean_interval(rows[:, 0])[:3])
    assert (mean[1], low[1], high[1]) == pytest.approx(mean_interval([0.5, 0.7])[:3])
    assert np.isnan([mean[2], low[2], high[2]]).all()


def test_differences_are_scipys() -> None:
    paired = paired_difference(A, B)
    theirs = scipy.stats.ttest_rel(A, B)
    interval = theirs.confidence_interval(0.95)
    assert (paired.value, paired.p) == pytest.approx((0.022, theirs.pvalue), rel=1e-10)
    assert paired[1:3] == pytest.approx((interval.low, interval.high), rel=1e-10)
    welch = welch_difference(A, B[:3])
    other = scipy.stats.ttest_ind(A, B[:3], equal_var=False)
    interval = other.confidence_interval(0.95)
    assert (welch.p, welch.df) == pytest.approx((other.pvalue, other.df), rel=1e-10)
    assert welch[1:3] == pytest.approx((interval.low, interval.high), rel=1e-10)


def test_without_spread_counting_gives_the_p_value() -> None:
    few = paired_difference([0.5, 0.6], [0.4, 0.5])
    assert few.p == 0.5 and math.isnan(few.low), "two equal differences separate nothing"
    assert paired_difference([0.5] * 6, [0.25] * 6).p == 2 / 2**6
    assert welch_difference([0.9] * 5, [0.1] * 5).p == 2 / 252
    assert welch_difference([0.9] * 5, [0.9] * 5).p == 1.0


def test_tasks_pool_like_one_mean_of_independent_means() -> None:
    one = pooled_difference([paired_difference(A, B)])
    assert one == pytest.approx(paired_difference(A, B), rel=1e-12)
    # equal errors s on 4 degrees each: s / sqrt(2) on 8
    two = pooled_difference([paired_difference(A, B)] * 2)
    assert (two.error, two.df) == pytest.approx((one.error / math.sqrt(2), 8.0), rel=1e-12)


def test_probability_of_improvement_is_mann_whitneys() -> None:
    u = scipy.stats.mannwhitneyu(A, B).statistic
    assert probability_of_improvement(A, B).value == pytest.approx(u / 25, rel=1e-12)
    assert probability_of_improvement([1, 2], [1, 2]).value == 0.5
    ours, theirs = probability_of_improvement(A, B), probability_of_improvement(B, A)
    assert (1 - theirs.high, 1 - theirs.low) == pytest.approx((ours.low, ours.high), abs=1e-9)


def test_a_clean_split_of_five_and_five_is_not_certainty() -> None:
    found = probability_of_improvement([6, 7, 8, 9, 10], [1, 2, 3, 4, 5])
    assert (found.value, found.high) == (1.0, 1.0)
    # the bound solves (1 - t)^2 = z^2 V(t), V of Newcombe's method 5 with n = m = 5
    t = found.low
    v = t * (1 - t) / 25 * (1 + 4 * ((1 - t) / (2 - t) + t / (1 + t)))
    assert (1 - t) ** 2 == pytest.approx(1.959964**2 * v, rel=1e-5)
    assert 0.5 < t < 0.9


def test_the_interval_of_the_probability_covers() -> None:
    rng = np.random.default_rng(2)
    for shift in (0.0, 1.0, 2.0):
        truth = scipy.stats.norm.cdf(shift / math.sqrt(2))
        draws = rng.normal(size=(600, 2, 5))
        found = [probability_of_improvement(x + shift, y) for x, y in draws]
        covered = np.mean([f.low <= truth <= f.high for f in found])
        assert covered >= 0.93, (shift, covered)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_the_raw_and_bonferroni(p: list[float]) -> None:
    for raw, adjusted in zip(p, holm(p), strict=True):
        assert raw <= adjusted <= min(1.0, len(p) * raw) + 1e-12


def test_places_count_what_is_surely_above_and_below() -> None:
    """0 is above 2; 1 is too noisy to be told from either, and may be anywhere."""
    above = [[False, False, True], [False] * 3, [False] * 3]
    assert rank_intervals(above) == [(1, 2), (1, 3), (2, 3)]
    assert rank_intervals([]) == []


@given(st.permutations(range(6)))
def test_places_of_a_full_order_are_its_ranks(order: list[int]) -> None:
    above = [[a < b for b in order] for a in order]
    assert rank_intervals(above) == [(r + 1, r + 1) for r in order]


@given(*[st.integers(0, 12)] * 4)
def test_rates_are_compared_by_fishers_exact_test(a: int, lived: int, b: int, rest: int) -> None:
    found = rate_difference_p(a, a + lived, b, b + rest)
    if a + lived and b + rest:
        expected = scipy.stats.fisher_exact([[a, lived], [b, rest]]).pvalue
        assert found == pytest.approx(expected, rel=1e-9)
    else:
        assert found == 1.0


def test_bounds_of_an_accuracy_stay_in_0_to_1() -> None:
    found = mean_interval([1.0, 1.0, 0.9]).within(0, 1)
    assert found.high == 1.0 and 0 < found.low < found.value
    assert mean_interval([0.9]).within(0, 1).n == 1 and math.isnan(mean_interval([0.9]).low)


def seeds_of_a_rule(rng: np.random.Generator, mean: float, spread: float) -> np.ndarray:
    """Accuracies of five seeds as a test set of 360 shows them."""
    return np.round(rng.normal(mean, spread, 5) * TEST_EXAMPLES).clip(0, 360) / TEST_EXAMPLES


def test_identical_rules_with_disjoint_seeds_differ_by_nothing() -> None:
    """4,000 repetitions over the spreads that rules have on the digits."""
    rng = np.random.default_rng(6)
    spreads = np.resize(SPREADS, 4000)
    found = [
        welch_difference(seeds_of_a_rule(rng, 0.95, s), seeds_of_a_rule(rng, 0.95, s))
        for s in spreads
    ]
    covered = np.mean([d.low <= 0 <= d.high for d in found])
    tied = np.mean([d.p >= 0.05 for d in found])
    assert 0.93 <= covered <= 0.97, covered
    assert tied == covered, "the interval and the p-value say the same"


@pytest.mark.parametrize("paired", [False, True])
def test_five_points_are_seen_at_five_seeds(paired: bool) -> None:
    rng = np.random.default_rng(7)
    compare = paired_difference if paired else welch_difference
    seen = []
    for spread in np.resize(SPREADS, 1000):
        d = compare(seeds_of_a_rule(rng, 0.95, spread), seeds_of_a_rule(rng, 0.90, spread))
        seen.append(d.p < 0.05)
    typical = np.resize(np.array(SPREADS) <= 0.0119, 1000)
    assert np.mean(np.array(seen)[typical]) >= 0.99
    assert np.mean(seen) >= 0.93, "with those of almost two points"
