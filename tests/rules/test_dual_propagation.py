"""Dual propagation: backprop where f is linear between two states, and by hand elsewhere."""

from __future__ import annotations

import pytest
import torch

from bioplaus.learning.rule import State
from bioplaus.network.network import Network
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    get_rule,
    make_convolutional,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)

NAME = "dual-propagation"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sweeps", [1, 3])
def test_a_linear_network_learns_by_backprop_at_any_nudge(sweeps: int, seed: int) -> None:
    """The means stay at the forward pass, and one sweep carries the whole error."""
    net = make_network((9, 12, 7, 4), "identity", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    grads = run_rule(NAME, net, params, batch, beta=3.0, sweeps=sweeps).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= 10 * EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("net", [make_network((9, 12, 7, 4), "tanh", "mse"), make_convolutional()])
def test_it_tends_to_backprop_with_the_square_of_beta(net: Network, seed: int) -> None:
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    true = autograd_grads(net, params, batch)
    far, near = (run_rule(NAME, net, params, batch, beta=beta).grads for beta in (2e-2, 1e-2))
    for name, gradient in true.items():
        assert rel(far[name], gradient) < 1e-2
        if net.loss.name == "cross_entropy" and name.startswith(str(net.depth)):
            assert rel(far[name], gradient) <= 10 * EXACT  # a linear top is exact
            continue
        assert 3.8 < rel(far[name], gradient) / rel(near[name], gradient) < 4.2


@pytest.mark.parametrize("seed", SEEDS)
def test_two_sweeps_as_in_the_authors_order_of_updates(seed: int) -> None:
    """Output, then down; up below the top; output, then down. Relu, linear top, squared error."""
    net = make_network((9, 12, 7, 4), "relu", "cross_entropy")
    net = type(net)(net.layers, make_network((4, 4)).loss, net.classes)
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    w = [params[f"{l}.weight"] for l in (1, 2, 3)]
    b = [params[f"{l}.bias"] for l in (1, 2, 3)]
    beta = 0.7
    plus, minus = [batch.x], [batch.x]
    for l in range(3):
        a = plus[-1] @ w[l].T + b[l]
        plus.append(a if l == 2 else a.clamp(min=0))
        minus.append(plus[-1])

    def top() -> None:
        star = (plus[3] + minus[3]) / 2
        a = (plus[2] + minus[2]) / 2 @ w[2].T + b[2]
        plus[3], minus[3] = a + beta * (batch.y - star), a - beta * (batch.y - star)

    def hidden(k: int) -> None:
        forward = (plus[k - 1] + minus[k - 1]) @ w[k - 1].T + 2 * b[k - 1]
        back = (plus[k + 1] - minus[k + 1]) @ w[k]
        plus[k], minus[k] = ((0.5 * (forward + s * back)).clamp(min=0) for s in (1, -1))

    for layer in (3, 2, 1, 1, 2, 3, 2, 1):
        top() if layer == 3 else hidden(layer)
    grads = run_rule(NAME, net, params, batch, beta=beta, sweeps=2).grads
    for l in (1, 2, 3):
        d = -(plus[l] - minus[l]) / (2 * beta)
        below = (plus[l - 1] + minus[l - 1]) / 2
        assert rel(grads[f"{l}.weight"], d.T @ below / 8) <= 10 * EXACT
        assert rel(grads[f"{l}.bias"], d.mean(0)) <= 10 * EXACT


def test_a_right_answer_leaves_both_states_together() -> None:
    net = make_network((9, 12, 4), "tanh", "mse")
    params, batch = random_params(net, 0), random_batch(net, 8, 0)
    right = batch._replace(y=net.output(params, batch.x))
    update = get_rule(NAME).update(net, params, State({}, {}), right, {})
    assert all(torch.equal(g, torch.zeros_like(g)) for g in update.grads.values())
