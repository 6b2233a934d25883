"""Statistics of few seeds: intervals, comparisons, places.

Pure functions of arrays; all intervals are at `LEVEL`. The percentile bootstrap over five
seeds covers 83 % where it says 95; Student's t, exact for normal scores, is used there.
Every resampling starts from a fixed seed: the same scores give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
MANY = 20
"""From this many scores on, the mean's interval is the BCa bootstrap's."""
RESAMPLES = 1999
TAILS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
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

    def within(self, least: float, most: float) -> Estimate:
        """The same with bounds that no mean can lie beyond: those of an accuracy are 0 and 1."""
        low, high = (math.nan if math.isnan(b) else min(max(b, least), most) for b in self[1:3])
        return self._replace(low=low, high=high)


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

    def turned(self) -> Difference:
        """How much the other exceeds this one."""
        return self._replace(value=-self.value, low=-self.high, high=-self.low)


def mean_interval(values: ArrayLike) -> Estimate:
    """Mean over seeds: Student's t below `MANY` scores, the BCa bootstrap from there on.

    Needs a score; one alone has no interval. Scores that are all equal have one of width 0.
    """
    x = scores(values, 1)
    mean = math.fsum(x) / len(x)
    if len(x) == 1:
        return Estimate(mean, math.nan, math.nan, 1)
    if len(x) >= MANY and np.ptp(x) > 0:
        return Estimate(mean, *_bca(x), len(x))
    half = student_quantile(len(x) - 1) * float(x.std(ddof=1)) / math.sqrt(len(x))
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
    shifted = bias + ndtri(TAILS)
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
    x, y = scores(a, 2), scores(b, 2)
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} scores do not pair")
    d = x - y
    error = float(d.std(ddof=1)) / math.sqrt(len(d))
    return _student(float(d.mean()), error, len(d) - 1, 2.0 ** (1 - len(d)), paired=True)


def welch_difference(a: ArrayLike, b: ArrayLike) -> Difference:
    """mean(a) - mean(b) of unrelated scores, Welch's t; needs two scores on either side.

    Where neither side has any spread, p is that of a split of all scores as clean as this.
    """
    x, y = scores(a, 2), scores(b, 2)
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

    x, y = scores(a, 1), scores(b, 1)
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


def rank_intervals(above: Sequence[Sequence[bool]]) -> list[tuple[int, int]]:
    """The places that each of k entries may have: `above[i][j]` where i is surely above j.

    From 1 + how many are surely above it, to k less how many it is surely above. An entry
    that is too noisy to be told from any other may be anywhere. Where all that is sure is so
    at once with 95 % (Holm over all pairs), so are the true places of all, at once: Mogstad,
    Romano, Shaikh and Wilhelm (2024), Review of Economic Studies 91, 476-518.
    """
    k = len(above)
    return [
        (1 + sum(above[j][i] for j in range(k)), k - sum(above[i][j] for j in range(k)))
        for i in range(k)
    ]


def rate_difference_p(a: int, of_a: int, b: int, of_b: int) -> float:
    """Fisher's exact two-sided p-value that `a` of `of_a` and `b` of `of_b` are of one rate."""
    drawn, every = a + b, of_a + of_b
    if min(of_a, of_b) < 1:
        return 1.0
    ways = [
        math.comb(of_a, k) * math.comb(of_b, drawn - k)
        for k in range(max(0, drawn - of_b), min(of_a, drawn) + 1)
    ]
    here = math.comb(of_a, a) * math.comb(of_b, b)
    return sum(w for w in ways if w <= here) / math.comb(every, drawn)


def accuracy_error(accuracy: float, examples: int) -> float:
    """Standard error of an accuracy on a test set of so many examples, as a fraction."""
    return math.sqrt(max(0.0, accuracy * (1 - accuracy)) / examples)


def student_quantile(df: float) -> float:
    """Half the width of a 95 % interval, in standard errors, of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + LEVEL) / 2))


def scores(values: ArrayLike, least: int) -> Floats:
    """At least so many finite numbers, (n,); ValueError for anything else."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) < least or not np.isfinite(x).all():
        raise ValueError(f"needs at least {least} finite scores, in one dimension")
    return x


def _student(value: float, error: float, df: float, clean: float, *, paired: bool) -> Difference:
    """The t interval and p-value.

    Without any spread (beyond rounding) `clean` is the p-value of a difference, and there
    is no interval where too few scores agree to tell.
    """
    from scipy.special import stdtr

    if error > _ROUNDING:
        half = student_quantile(df) * error
        p = 2 * float(stdtr(df, -abs(value) / error))
    else:
        p = 1.0 if abs(value) <= _ROUNDING else min(1.0, clean)
        half = math.nan if 1 - LEVEL <= p < 1 else 0.0
    return Difference(value, value - half, value + half, p, error, df, paired)


def _rng() -> np.random.Generator:
    return np.random.default_rng(_SEED)
