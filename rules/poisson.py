"""Poisson counts as functions of uniform numbers, whole ones and relaxed, and their divergence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Draw = Callable[[Tensor], Tensor]
"""Counts, or what stands for them, from log rates, (N, K) each."""

MOST = 40
"""The largest count."""


def counts(uniform: Tensor, u: Tensor) -> Tensor:
    """Of Poisson(e^u), one for each uniform number: how many n have a CDF(n) below it, to 40."""
    rate = u.exp()
    n = torch.arange(1, MOST, dtype=u.dtype, device=u.device).reshape(-1, *[1] * u.dim())
    mass = torch.cat([(-rate).exp()[None], rate / n]).cumprod(0)
    # rounded, a uniform number may be 1, and the whole of the CDF ends just below it
    within = uniform.clamp(max=1 - 4 * torch.finfo(u.dtype).eps)
    return (within > mass.cumsum(0)).sum(0).to(u.dtype)


def relaxed_counts(uniform: Tensor, u: Tensor, temperature: Tensor | float) -> Tensor:
    """How many of the arrivals at rate e^u come before time 1, each by a sigmoid.

    uniform: (arrivals, *u.shape), of the waiting times. As the temperature falls to 0 it is a
    count of Poisson(e^u), as far as there are arrivals.
    """
    times = (-uniform.log() / u.exp()).cumsum(0)
    return ((1 - times) / temperature).sigmoid().sum(0)


def kl(u: Tensor, u0: Tensor) -> Tensor:
    """Of Poisson(e^u) from Poisson(e^u0), of each unit."""
    return u.exp() * (u - u0 - 1) + u0.exp()


def whole(uniform: Tensor) -> Draw:
    """`counts` by the next of the uniform numbers (draws, N, K) at each call."""
    each = iter(uniform)
    return lambda u: counts(next(each), u)


def relaxed(uniform: Tensor, temperature: Tensor | float) -> Draw:
    """`relaxed_counts` by the next of the uniform numbers (draws, arrivals, N, K) at each call."""
    each = iter(uniform)
    return lambda u: relaxed_counts(next(each), u, temperature)


def curvature(weight: Tensor, rate: Tensor, sigma2: Tensor) -> Tensor:
    """Largest eigenvalue of diag(rate)^1/2 W^T diag(1/s^2) W diag(rate)^1/2, by power iteration.

    weight: (M, K); rate: (K,); sigma2: (M,). Times its step size it must stay below 2.
    """
    half, v = rate.sqrt(), rate.sqrt()
    norm: Tensor = v.norm()
    for _ in range(12):
        v = half * (((weight @ (half * v / norm)) / sigma2) @ weight)
        norm = v.norm() + 1e-30
    return norm
