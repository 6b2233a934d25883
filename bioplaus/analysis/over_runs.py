"""Aggregates over all runs of several tasks: the interquartile mean, performance profiles.

After Agarwal et al. (2021), Deep reinforcement learning at the edge of the statistical
precipice, NeurIPS. Their bootstrap of the interquartile mean covers 90 % (2 tasks of 5 runs)
and 83.5 % (2 of 3) where it says 95: its interval here is Yuen's instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bioplaus.analysis.statistics import TAILS, Estimate, Floats, scores, student_quantile

_SEED = 0


def interquartile_mean(tasks: Sequence[ArrayLike]) -> Estimate:
    """Mean of the middle half of all runs on all tasks, with a t interval.

    The standard error is that of a trimmed mean (Yuen 1974, Biometrika 61, 165-170), of runs
    winsorised at the quartiles; their variance is taken within tasks, which are not drawn.
    Degrees of freedom are Welch's and Satterthwaite's over tasks, times the share of the
    runs that are not trimmed. Where a quartile falls between two tasks so few runs say too
    little of it: the interval is never narrower than the plain mean's. The bounds are NaN
    where a task has a single run.
    """
    runs = [scores(t, 1) for t in tasks]
    every = np.sort(np.concatenate(runs))
    n, cut = len(every), len(every) // 4
    middle = every[cut : n - cut]
    value, kept = float(middle.mean()), len(middle)
    if min(map(len, runs)) < 2:
        return Estimate(value, math.nan, math.nan, n)
    winsorised = [np.clip(r, middle[0], middle[-1]) for r in runs]
    trimmed = _half_width(winsorised, n * kept * max(kept - 1, 1) / (n - 1), kept / n)
    half = max(trimmed, _half_width(runs, n * n, 1.0))
    return Estimate(value, value - half, value + half, n)


def _half_width(runs: Sequence[Floats], by: float, kept: float) -> float:
    """Of the t interval whose variance is the sum of n_t s_t^2 over `by`."""
    parts = [len(r) * float(r.var(ddof=1)) for r in runs]
    weight = math.fsum(p * p / (len(r) - 1) for p, r in zip(parts, runs, strict=True))
    if weight <= 0:
        return 0.0
    df = max(1.0, math.fsum(parts) ** 2 / weight * kept)
    return student_quantile(df) * math.sqrt(math.fsum(parts) / by)


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

    value = shares([scores(t, 1)[None] for t in tasks])[0]
    low, high = np.quantile(shares(list(_resampled(tasks, 499))), TAILS, axis=0)
    return value, low, high


def _resampled(tasks: Sequence[ArrayLike], count: int) -> Sequence[Floats]:
    """Of each task, `count` draws of as many runs as it has, with replacement."""
    rng = np.random.default_rng(_SEED)
    runs = [scores(t, 1) for t in tasks]
    return [s[rng.integers(0, len(s), (count, len(s)))] for s in runs]
