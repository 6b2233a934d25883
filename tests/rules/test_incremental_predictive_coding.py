"""Incremental predictive coding: the weights' way within a batch, by autograd of the energy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Params
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    get_rule,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
)

NAME = "incremental-predictive-coding"


def energy(params: Params, batch: Batch, mus: list[Tensor]) -> Tensor:
    """Mean over the batch; tanh hidden layers, softmax at the top."""
    below, total = batch.x, torch.zeros(()).double()
    for l in (1, 2, 3):
        a = below @ params[f"{l}.weight"].T + params[f"{l}.bias"]
        if l == 3:
            return total + torch.nn.functional.cross_entropy(a, batch.y.argmax(1))
        total = total + 0.5 * (mus[l - 1] - torch.tanh(a)).square().sum(1).mean()
        below = mus[l - 1]
    raise AssertionError


@pytest.mark.parametrize("seed", SEEDS)
def test_activities_and_weights_descend_one_energy_in_turn(seed: int) -> None:
    """Each activity by its example's own energy, then the weights by the mean's gradient."""
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    rate, eta = 0.3, 0.2
    moving = {k: v.clone() for k, v in params.items()}
    trace = net.forward(params, batch.x)
    mus = [trace[0].output, trace[1].output]
    for _ in range(4):
        mus = [mu.clone().requires_grad_() for mu in mus]
        slopes = torch.autograd.grad(8 * energy(moving, batch, mus), mus)
        mus = [(mu - eta * g).detach() for mu, g in zip(mus, slopes, strict=True)]
        leaves = {k: v.clone().requires_grad_() for k, v in moving.items()}
        found = torch.autograd.grad(energy(leaves, batch, mus), list(leaves.values()))
        moving = {k: v - rate * g for (k, v), g in zip(moving.items(), found, strict=True)}
    options: dict[str, object] = {"steps": 4, "step_size": eta, "rate": rate}
    grads = run_rule(NAME, net, params, batch, **options).grads
    for name, start in params.items():
        assert rel(start - rate * grads[name], moving[name]) <= EXACT
        assert rel(grads[name], (start - moving[name]) / rate) <= 100 * EXACT


def test_the_error_has_to_reach_the_first_layer() -> None:
    net = make_network((9, 8, 8, 8, 4), "tanh", "cross_entropy")
    assert "take 3 or more" in (get_rule(NAME, steps=2).supports(net) or "")
    assert get_rule(NAME, steps=3).supports(net) is None
    params, batch = random_params(net, 0), random_batch(net, 8, 0)
    assert run_rule(NAME, net, params, batch, steps=3).grads["1.weight"].any()


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_the_weights_overshoot_where_the_rate_exceeds_2_over_the_curvature(scale: float) -> None:
    """One linear layer, one example: each step leaves 1 - rate ||x||^2 of its error."""
    net = make_network((9, 4), "identity", "mse", bias=False)
    params, batch = random_params(net, 0), random_batch(net, 1, 0)
    x = scale * batch.x / batch.x.norm()
    rate, steps = 0.5, 3
    options: dict[str, object] = {"rate": rate, "steps": steps}
    (grad,) = run_rule(NAME, net, params, Batch(x, batch.y), **options).grads.values()
    (start,) = params.values()
    left = x @ (start - rate * grad).T - batch.y
    shrunk = (1 - rate * scale**2) ** steps
    assert rel(left, shrunk * (x @ start.T - batch.y)) <= 1e-10
    assert (abs(shrunk) > 1) == (rate * scale**2 > 2)
