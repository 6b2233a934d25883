"""Statistics of few seeds: intervals, comparisons, ranks with ties, aggregates over tasks.

Pure functions of arrays; all intervals are at `LEVEL`. The percentile bootstrap over five
seeds covers 83 % where it says 95; Student's t, exact for normal scores, is used there.
Every resampling starts from a fixed seed: the same scores give the same numbers.

The aggregates over tasks follow Agarwal et al. (2021), Deep reinforcement learning at the
edge of the statistical precipice, NeurIPS: runs are resampled within each task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
MANY = 20
"""From this many scores on, the mean's interval is the BCa bootstrap's."""
RESAMPLES = 1999
_SEED = 0
_ROUNDING = 1e-12
"""What is left of equal accuracies after arithmetic."""

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A number with its 95 % interval; the bounds are NaN where one score says nothing of it."""

    value: float
    low: float
    high: float
    n: int
    """How many scores it rests on."""


class Difference(NamedTuple):
    """How much a mean exceeds another, with its 95 % interval and two-sided p-value."""

    value: float
    low: float
    high: float
    p: float
    error: float
    """Standard error."""
    df: float
    """Degrees of freedom of Student's t."""
    paired: bool


def mean_interval(values: ArrayLike) -> Estimate:
    """Mean over seeds: Student's t below `MANY` scores, the BCa bootstrap from there on.

    Needs a score; one alone has no interval. Scores that are all equal have one of width 0.
    """
    x = _scores(values, 1)
    mean = math.fsum(x) / len(x)
    if len(x) == 1:
        return Estimate(mean, math.nan, math.nan, 1)
    if len(x) >= MANY and np.ptp(x) > 0:
        return Estimate(mean, *_bca(x), len(x))
    half = _t_quantile(len(x) - 1) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Estimate(mean, mean - half, mean + half, len(x))


def _bca(x: Floats) -> tuple[float, float]:
    """The BCa interval of a mean (Efron 1987, JASA 82, 171-185).

    The numbers of `scipy.stats.bootstrap`, without its overhead for thousands of cells: the
    mean's jackknife has a closed form, and as many scores are always drawn alike.
    """
    from scipy.special import ndtr, ndtri

    mean = x.mean()
    d = x - mean
    draws = d[_draws(len(x))].mean(1)
    tied = np.abs(draws) <= _ROUNDING
    bias = ndtri(np.mean(tied / 2 + (~tied & (draws < 0))))
    acceleration = (d**3).sum() / (6 * (d**2).sum() ** 1.5)
    shifted = bias + ndtri(_TAILS)
    low, high = np.quantile(draws, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return float(mean + low), float(mean + high)


@lru_cache(maxsize=8)
def _draws(n: int) -> NDArray[np.int64]:
    """Which of n scores each resample takes, (RESAMPLES, n)."""
    return _rng().integers(0, n, (RESAMPLES, n))


def mean_bands(rows: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean and t interval of each column of (n, k) scores, NaN left out: three of shape (k,).

    NaN where a column has no score; bounds NaN where it has only one.
    """
    from scipy.special import stdtrit

    known = np.isfinite(rows)
    n = known.sum(0)
    filled = np.where(known, rows, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = filled.sum(0) / n
        variance = np.where(known, (filled - mean) ** 2, 0.0).sum(0) / (n - 1)
        half = stdtrit(np.maximum(n - 1, 1), (1 + LEVEL) / 2) * np.sqrt(variance / n)
    half = np.where(n > 1, half, np.nan)
    return mean, mean - half, mean + half


def paired_difference(a: ArrayLike, b: ArrayLike) -> Difference:
    """Mean of a - b, score by score (the same seed's), with Student's t; needs two pairs.

    Where all pairs differ by the same the t statistic is not defined: p is then that of
    the n differences having one sign, 2^(1 - n), and the interval is NaN if that is not small.
    """
    x, y = _scores(a, 2), _scores(b, 2)
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} scores do not pair")
    d = x - y
    error = float(d.std(ddof=1)) / math.sqrt(len(d))
    return _student(float(d.mean()), error, len(d) - 1, 2.0 ** (1 - len(d)), paired=True)


def welch_difference(a: ArrayLike, b: ArrayLike) -> Difference:
    """mean(a) - mean(b) of unrelated scores, Welch's t; needs two scores on either side.

    Where neither side has any spread, p is that of a split of all scores as clean as this.
    """
    x, y = _scores(a, 2), _scores(b, 2)
    parts = [float(s.var(ddof=1)) / len(s) for s in (x, y)]
    square = sum(parts)
    weight = sum(p**2 / (len(s) - 1) for p, s in zip(parts, (x, y), strict=True))
    df = square**2 / weight if weight > 0 else len(x) + len(y) - 2
    clean = 2 / math.comb(len(x) + len(y), len(x))
    value = math.fsum(x) / len(x) - math.fsum(y) / len(y)
    return _student(value, math.sqrt(square), df, clean, paired=False)


def pooled_difference(parts: Sequence[Difference]) -> Difference:
    """The mean of independent differences, one per task, over just these tasks.

    Standard errors add in squares, degrees of freedom after Welch and Satterthwaite.
    """
    if not parts:
        raise ValueError("no differences to pool")
    value = math.fsum(d.value for d in parts) / len(parts)
    square = math.fsum(d.error**2 for d in parts)
    weight = math.fsum(d.error**4 / d.df for d in parts)
    df = square**2 / weight if weight > 0 else math.fsum(d.df for d in parts)
    clean = math.prod(d.p for d in parts)
    paired = all(d.paired for d in parts)
    return _student(value, math.sqrt(square) / len(parts), df, clean, paired=paired)


def probability_of_improvement(a: ArrayLike, b: ArrayLike) -> Estimate:
    """P(a > b) + P(a = b) / 2 of one score of each, over all pairs: Mann-Whitney's U / (n m).

    The interval is a score interval (method 5 of Newcombe 2006, Statistics in Medicine 25,
    559-573), which keeps its coverage where all of a exceed all of b. It takes the scores
    as unrelated: where seeds are shared, that errs on the wide side or not at all.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm, rankdata

    x, y = _scores(a, 1), _scores(b, 1)
    n, m = len(x), len(y)
    u = float(rankdata(np.concatenate([x, y]))[:n].sum()) - n * (n + 1) / 2
    theta = u / (n * m)
    z = float(norm.ppf((1 + LEVEL) / 2))
    spare = (n + m) / 2 - 1

    def excess(t: float) -> float:
        variance = t * (1 - t) * (1 + spare * ((1 - t) / (2 - t) + t / (1 + t))) / (n * m)
        return (theta - t) ** 2 - z * z * variance

    # at 0 and 1 the variance vanishes: the bound sought is the other root
    low = 0.0 if theta == 0 else float(brentq(excess, 0.0, min(theta, 1 - 1e-9)))
    high = 1.0 if theta == 1 else float(brentq(excess, max(theta, 1e-9), 1.0))
    return Estimate(theta, low, high, min(n, m))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: reject those below the level."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for step, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def tie_groups(means: Sequence[float], p_value: Callable[[int, int], float]) -> list[int]:
    """The tie group, 1 for the best, of each of several entries.

    A group is the best entry that is left and all that cannot be separated from it, with
    Holm's correction over these comparisons. Two of one group may well be separable from
    each other: ties are not transitive. `p_value(i, j)` is that of entries i and j differing.
    """
    left = sorted(range(len(means)), key=lambda i: (-means[i], i))
    groups, group = [0] * len(means), 0
    while left:
        group += 1
        best, *others = left
        adjusted = holm([p_value(best, i) for i in others])
        tied = [i for i, p in zip(others, adjusted, strict=True) if p >= 1 - LEVEL]
        for i in (best, *tied):
            groups[i] = group
        left = [i for i in others if groups[i] == 0]
    return groups


def interquartile_mean(tasks: Sequence[ArrayLike]) -> Estimate:
    """Mean of the middle half of all runs on all tasks, stratified bootstrap (percentile)."""
    value = float(_middle_mean(np.concatenate([_scores(t, 1) for t in tasks])))
    draws = np.concatenate(list(_resampled(tasks, RESAMPLES)), axis=1)
    low, high = np.quantile(_middle_mean(draws), _TAILS)
    return Estimate(value, float(low), float(high), draws.shape[1])


def _middle_mean(x: Floats) -> Floats:
    """Over the last axis, without a quarter at either end: importing scipy.stats takes longer."""
    cut = x.shape[-1] // 4
    mean: Floats = np.sort(x, axis=-1)[..., cut : x.shape[-1] - cut].mean(-1)
    return mean


def performance_profile(
    tasks: Sequence[ArrayLike], thresholds: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """Share of runs that score above each threshold, the tasks weighing the same, with bounds.

    Returns share, low and high, (k,) each, of a stratified percentile bootstrap.
    """
    above = np.asarray(thresholds, dtype=np.float64)

    def shares(draws: Sequence[Floats]) -> Floats:
        """(B, k) from B resamples of each task."""
        parts = [(d[:, :, None] > above).mean(1) for d in draws]
        mean: Floats = np.mean(np.stack(parts), axis=0)
        return mean

    value = shares([_scores(t, 1)[None] for t in tasks])[0]
    low, high = np.quantile(shares(list(_resampled(tasks, 499))), _TAILS, axis=0)
    return value, low, high


_TAILS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]


def _resampled(tasks: Sequence[ArrayLike], count: int) -> Sequence[Floats]:
    """Of each task, `count` draws of as many runs as it has, with replacement."""
    rng = _rng()
    scores = [_scores(t, 1) for t in tasks]
    return [s[rng.integers(0, len(s), (count, len(s)))] for s in scores]


def _student(value: float, error: float, df: float, clean: float, *, paired: bool) -> Difference:
    """The t interval and p-value.

    Without any spread (beyond rounding) `clean` is the p-value of a difference, and there
    is no interval where too few scores agree to tell.
    """
    from scipy.special import stdtr

    if error > _ROUNDING:
        half = _t_quantile(df) * error
        p = 2 * float(stdtr(df, -abs(value) / error))
    else:
        p = 1.0 if abs(value) <= _ROUNDING else min(1.0, clean)
        half = math.nan if 1 - LEVEL <= p < 1 else 0.0
    return Difference(value, value - half, value + half, p, error, df, paired)


def _t_quantile(df: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + LEVEL) / 2))


def _scores(values: ArrayLike, least: int) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) < least or not np.isfinite(x).all():
        raise ValueError(f"needs at least {least} finite scores, in one dimension")
    return x


def _rng() -> np.random.Generator:
    return np.random.default_rng(_SEED)
