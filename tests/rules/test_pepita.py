"""PEPITA by hand: two forward passes, and the differences between them."""

from __future__ import annotations

import math

import pytest
import torch

from bioplaus.learning.rule import State
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    get_rule,
    make_convolutional,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)

NAME = "pepita"


@pytest.mark.parametrize("seed", SEEDS)
def test_two_passes_as_in_the_algorithm(seed: int) -> None:
    """Example by example, with a softmax output, as algorithm 1 has it."""
    net = make_network((9, 12, 7, 4), "relu", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    state = get_rule(NAME, feedback_gain=1.0).init_state(net, params, Stream(seed))
    projection = state.memory["projection"]

    def ascend(x: torch.Tensor) -> list[torch.Tensor]:
        h = [x]
        for l in (1, 2, 3):
            a = params[f"{l}.weight"] @ h[-1] + params[f"{l}.bias"]
            h.append(torch.softmax(a, 0) if l == 3 else a.clamp(min=0))
        return h

    expected = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
    for x, y in zip(batch.x, batch.y, strict=True):
        first = ascend(x)
        second = ascend(x + projection @ (first[3] - y))
        for l in (1, 2, 3):
            d = second[3] - y if l == 3 else first[l] - second[l]
            expected[f"{l}.weight"] += torch.outer(d, second[l - 1]) / 8
            expected[f"{l}.bias"] += d / 8
    grads = run_rule(NAME, net, params, batch, state=state).grads
    assert worst(grads, expected) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_a_small_error_moves_layers_by_their_jacobians(seed: int) -> None:
    """d_1 -> -D_1 W_1 F e and d_2 -> -D_2 W_2 D_1 W_1 F e as F -> 0, to first order."""
    net = make_network((9, 12, 7, 4), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 1, seed)
    direction = Stream(seed).normal((9, 4))
    trace = net.forward(params, batch.x)
    error = trace[-1].output - batch.y
    j1 = trace[0].slope.T * params["1.weight"]
    j2 = (trace[1].slope.T * params["2.weight"]) @ j1
    for name, jacobian in (("1.bias", j1), ("2.bias", j2)):
        linear = -(jacobian @ direction @ error[0])
        distance = [
            rel(
                run_rule(
                    NAME, net, params, batch, state=State({}, {"projection": t * direction})
                ).grads[name]
                / t,
                linear,
            )
            for t in (1e-3, 5e-4)
        ]
        assert distance[0] < 0.02
        assert distance[0] / distance[1] == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_last_layer_learns_by_the_gradient_at_the_moved_input(seed: int) -> None:
    """Through a convolution: autograd of the loss at h'_{L-1}, which is held."""
    net = make_convolutional("relu")
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    state = get_rule(NAME, feedback_gain=1.0).init_state(net, params, Stream(seed))
    grads = run_rule(NAME, net, params, batch, state=state).grads
    error = torch.softmax(net.output(params, batch.x), 1) - batch.y
    moved = batch.x + (error @ state.memory["projection"].T).reshape(batch.x.shape)
    below = net.forward(params, moved)[-1].input
    leaves = {k: v.clone().requires_grad_() for k, v in params.items() if k.startswith("5.")}
    loss = net.loss.value(net.step(leaves, 4, below).output, batch.y)
    due = torch.autograd.grad(loss, list(leaves.values()))
    for name, gradient in zip(leaves, due, strict=True):
        assert rel(grads[name], gradient) <= EXACT


def test_without_an_error_hidden_layers_stay() -> None:
    net = make_network((9, 12, 4), "tanh", "mse")
    params, batch = random_params(net, 0), random_batch(net, 8, 0)
    right = batch._replace(y=net.output(params, batch.x))
    assert all(not grad.any() for grad in run_rule(NAME, net, params, right).grads.values())


def test_the_projection_is_drawn_as_in_the_authors_code() -> None:
    net = make_network((300, 20, 200), "tanh", "mse")
    state = get_rule(NAME).init_state(net, random_params(net, 0), Stream(0))
    drawn, bound = state.memory["projection"], 0.05 * math.sqrt(6 / 300)
    assert drawn.shape == (300, 200)
    assert float(drawn.abs().max()) <= bound
    assert float(drawn.std()) == pytest.approx(bound / math.sqrt(3), rel=0.01)


def test_it_refuses_errors_without_bounds() -> None:
    rule = get_rule(NAME)
    unbounded = make_network((9, 12, 4), "leaky_relu(0.1)", "mse")
    assert "no bounds" in (rule.supports(unbounded) or "")
    assert rule.supports(make_network((9, 12, 4), "relu", "cross_entropy")) is None
    assert rule.supports(make_network((9, 12, 4), "tanh", "mse")) is None
