"""Poisson counts by inversion, relaxed ones, and their divergence."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import poisson

from bioplaus.numerics.random_streams import Stream
from bioplaus.rules.poisson import counts, kl, relaxed_counts
from tests.helpers.networks import EXACT, every_seed, rel


@every_seed
def test_t_ipv_2_the_kl_is_the_sum_over_counts(seed: int) -> None:
    u, u0 = (Stream(seed).at(n).normal((5,)) for n in "ab")
    n = torch.arange(60, dtype=torch.float64)[:, None]
    log_p = n * u - u.exp() - torch.lgamma(n + 1)
    log_q = n * u0 - u0.exp() - torch.lgamma(n + 1)
    assert rel(kl(u, u0), (log_p.exp() * (log_p - log_q)).sum(0)) <= EXACT
    at = u.clone().requires_grad_()
    assert not torch.autograd.grad(kl(at, u).sum(), at)[0].any()


@every_seed
def test_t_ipv_5_counts_are_the_quantiles(seed: int) -> None:
    """80,000 draws a seed, rates from e^-8 to e^2.5."""
    u = -8 + 10.5 * Stream(seed).at("u").uniform((80_000,))
    drawn = Stream(seed).at("uniform").uniform((80_000,))
    due = torch.from_numpy(poisson.ppf(drawn.numpy(), u.exp().numpy()))
    assert int((counts(drawn, u) != due).sum()) == 0


def test_the_largest_uniform_number_in_single_precision_is_no_largest_count() -> None:
    """1, where 1 - 2^-25 is meant: the count is between the quantiles around its rounding."""
    u = torch.linspace(-3, 1.5, 2000)
    found = counts(torch.ones_like(u), u).double().numpy()
    least, most = (poisson.ppf(1 - 2.0**-k, u.double().exp().numpy()) for k in (20, 24))
    assert (least <= found).all() and (found <= most).all()
    assert counts(torch.ones(1), torch.tensor([5.0])).item() == 40  # beyond, it is cut off


@pytest.mark.parametrize("rate", [0.2, 1.0, 3.0])
def test_cold_relaxed_counts_are_poisson(rate: float) -> None:
    """20,000 draws from 16 arrivals: each share within four standard errors of its mass."""
    drawn = Stream(0).at("arrivals").uniform((16, 20_000))
    u = torch.full((20_000,), rate, dtype=torch.float64).log()
    found = relaxed_counts(drawn, u, 1e-9)
    for n in range(6):
        mass = float(poisson.pmf(n, rate))
        share = float((found.round() == n).double().mean())
        assert abs(share - mass) <= 4 * (mass * (1 - mass) / 20_000) ** 0.5
