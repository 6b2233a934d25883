"""The contrastive hinge: its error is its gradient, and a case that fits on a hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.network.contrastive import ContrastiveHinge
from bioplaus.testing.comparing import rel
from tests.helpers.networks import draw, every_seed

PAIRS, UNITS = 7, 8
NONE = torch.zeros(2 * PAIRS, UNITS, dtype=torch.float64)
SETTINGS = [{}, {"margin": 2.0, "delta": 1.0}, {"negatives": 1}, {"negatives": 5}]


def output(seed: int) -> Tensor:
    return draw(seed, "z", 2 * PAIRS, UNITS)


@every_seed
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("block", [False, True])
def test_t_ssl_1_the_error_is_the_gradient_times_the_rows(
    block: bool, settings: dict[str, float], seed: int
) -> None:
    loss = ContrastiveHinge(block=block, **settings)  # type: ignore[arg-type]
    z = output(seed).requires_grad_()
    (due,) = torch.autograd.grad(loss.value(z, NONE), z)
    error = loss.error(z.detach(), NONE)
    assert rel(error, 2 * PAIRS * due) <= 1e-14
    assert (error[:PAIRS] == 0).all() == block
    both = ContrastiveHinge(block=False, **settings).error(z.detach(), NONE)  # type: ignore[arg-type]
    assert torch.equal(error[PAIRS:], both[PAIRS:]), "the second view learns the same"


@every_seed
@pytest.mark.parametrize("settings", SETTINGS[:2])
def test_t_ssl_5_pairs_have_no_order_and_views_are_pairs(
    settings: dict[str, float], seed: int
) -> None:
    loss, z = ContrastiveHinge(**settings), output(seed)  # type: ignore[arg-type]
    order = torch.arange(PAIRS).roll(1)
    first, second = z.chunk(2)
    value = loss.value(z, NONE)
    alike = loss.value(torch.cat([first[order], second[order]]), NONE)
    assert rel(alike, value) <= 1e-14
    apart = loss.value(torch.cat([first, second[order]]), NONE)
    assert abs(float(apart - value)) / float(value) > 1e-4


def test_t_ssl_6_two_pairs_on_a_line() -> None:
    """z1 = (0, 2), z2 = (.5, 4), m 2, delta 1: near within 1, far beyond 3."""
    z = torch.tensor([[0.0], [2.0], [0.5], [4.0]], dtype=torch.float64)
    loss = ContrastiveHinge(2.0, 1.0)
    # d = (.5, 4; 1.5, 2): own pairs cost 0 and 1, others 0 and 1.5
    assert 2 * float(loss.value(z, NONE)) == 2.5
    assert loss.error(z, NONE).flatten().tolist() == [0, 0, 2, 2]
    assert loss.each(z, NONE).tolist() == [0, 2.5, 1.5, 1]


@every_seed
def test_the_rows_shares_come_to_the_value(seed: int) -> None:
    for settings in SETTINGS:
        loss = ContrastiveHinge(**settings)  # type: ignore[arg-type]
        assert rel(loss.each(output(seed), NONE).mean(), loss.value(output(seed), NONE)) <= 1e-14


def test_negatives_that_are_counted_weigh_one_together_and_wrap_around() -> None:
    """Far closer than the margin, so that every hinge is open: slopes are the weights."""
    z = 1e-3 * output(0)
    loss = ContrastiveHinge(negatives=2, block=False)
    slopes = loss._slopes(*z.chunk(2))
    due = torch.zeros(PAIRS, PAIRS, dtype=torch.float64)
    for i in range(PAIRS):
        due[i, (i + 1) % PAIRS] = due[i, (i + 2) % PAIRS] = 0.5
    assert torch.equal(slopes, due), "own pairs are near enough"


def test_it_is_batched_over_replicas() -> None:
    z = torch.stack([output(seed) for seed in range(3)])
    loss = ContrastiveHinge()
    together = torch.vmap(lambda h: (loss.value(h, NONE), loss.error(h, NONE)))(z)
    for seed in range(3):
        assert rel(together[0][seed], loss.value(z[seed], NONE)) <= 1e-14
        assert rel(together[1][seed], loss.error(z[seed], NONE)) <= 1e-14
