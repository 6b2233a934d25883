"""Activation relaxation: its trajectory, its equilibrium, and its relaxed backward weights."""

from __future__ import annotations

from math import comb, fsum
from typing import Any

import pytest
import torch
from torch import Tensor

from bioplaus.learning.layered_rule import LayeredRule
from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    forward_pass,
    get_rule,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)

AR = "activation-relaxation"
LEAKY = "leaky_relu(0.1)"
WIDTHS = (9, 12, 10, 8, 7, 6, 4)
CASES = [(LEAKY, "mse"), (LEAKY, "cross_entropy"), ("tanh", "mse"), ("tanh", "cross_entropy")]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("activation", "loss"), CASES)
@pytest.mark.parametrize(("order", "sweeps"), [("jacobi", 5), ("top-down", 1)])
def test_t_ar_1_steps_of_size_1_are_backprop(
    order: str, sweeps: int, activation: str, loss: str, seed: int
) -> None:
    net = make_network(WIDTHS, activation, loss)
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 8, seed)
    grads = run_rule(AR, net, params, batch, steps=sweeps, step_size=1.0, order=order).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("activation", "loss"), CASES)
@pytest.mark.parametrize("order", ["jacobi", "top-down"])
def test_t_ar_1_equilibrium_is_backprop(order: str, activation: str, loss: str, seed: int) -> None:
    net = make_network(WIDTHS, activation, loss)
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 8, seed)
    grads = run_rule(AR, net, params, batch, steps=600, step_size=0.1, order=order).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= 1e-12


def upper_part(net: Network, params: Params, first: int, last: int, h: Tensor) -> Tensor:
    """h_last as a function of h_first, in torch's own terms; dense layers."""
    for l in range(first + 1, last + 1):
        h = net.layers[l - 1].activation(h @ params[f"{l}.weight"].T + params[f"{l}.bias"])
    return h


def carried_down(
    net: Network, params: Params, first: int, last: int, h: Tensor, v: Tensor
) -> Tensor:
    """v at layer `last` brought down to layer `first` by the transposed Jacobian, at h_first."""
    leaf = h.clone().requires_grad_()
    (result,) = torch.autograd.grad(upper_part(net, params, first, last, leaf), leaf, v)
    return result


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("steps", "eta"), [(1, 0.3), (4, 0.1), (7, 0.6), (25, 0.2), (100, 0.1)])
@pytest.mark.parametrize("order", ["jacobi", "top-down"])
@pytest.mark.parametrize(("activation", "loss"), CASES)
def test_t_ar_2_trajectory(
    activation: str, loss: str, order: str, steps: int, eta: float, seed: int
) -> None:
    net = make_network(WIDTHS, activation, loss)
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 4, seed)
    fwd = forward_pass(net, params, batch)
    rule = get_rule(AR, steps=steps, step_size=eta, order=order)
    assert isinstance(rule, LayeredRule)
    deltas = rule.deltas(fwd._replace(shared=rule.shared(fwd)))
    top = net.depth
    for l in range(1, top):
        k = top - l
        n = steps if order == "jacobi" else steps + k - 1
        share = fsum(comb(n, j) * eta**j * (1 - eta) ** (n - j) for j in range(k, n + 1))
        h = fwd.trace[l - 1].output
        expected = share * carried_down(net, params, l, top, h, fwd.error)
        for j in range(k):
            ways = comb(steps, j) if order == "jacobi" else comb(steps - 1 + j, j)
            left = (1 - eta) ** (steps - j) if order == "jacobi" else (1 - eta) ** steps
            activity = fwd.trace[l + j - 1].output
            down = carried_down(net, params, l, l + j, h, activity) if j else activity
            expected = expected + ways * eta**j * left * down
        assert rel(deltas[l - 1] / fwd.trace[l - 1].slope, expected) <= 1e-10


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", ["jacobi", "top-down"])
def test_from_zero_it_is_predictive_coding_with_fixed_predictions(order: str, seed: int) -> None:
    net = make_network(WIDTHS, "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    options: dict[str, Any] = {"steps": 9, "step_size": 0.3, "order": order}
    grads = run_rule(AR, net, params, batch, init="zero", **options).grads
    expected = run_rule("predictive-coding-fixed", net, params, batch, **options).grads
    assert worst(grads, expected) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("backward", ["fixed", "learned"])
def test_backward_weights_that_equal_the_forward_weights_are_the_transpose(
    backward: str, seed: int
) -> None:
    net = make_network(WIDTHS, "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    above = {f"{l}.weight": params[f"{l}.weight"] for l in range(2, net.depth + 1)}
    state = State(above, {}) if backward == "learned" else State({}, above)
    update = run_rule(AR, net, params, batch, state=state, backward=backward)
    assert worst(update.grads, run_rule(AR, net, params, batch).grads) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_learned_backward_weights_have_the_update_of_the_forward_ones(seed: int) -> None:
    net = make_network(WIDTHS, LEAKY, "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    update = run_rule(AR, net, params, batch, seed=seed, backward="learned")
    assert update.aux_grads.keys() == {f"{l}.weight" for l in range(2, net.depth + 1)}
    assert all(torch.equal(grad, update.grads[name]) for name, grad in update.aux_grads.items())


@pytest.mark.parametrize("seed", SEEDS)
def test_fixed_backward_weights_are_feedback_alignment_at_rest(seed: int) -> None:
    net = make_network(WIDTHS, "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    state = get_rule(AR, backward="fixed").init_state(net, params, Stream(seed))
    relaxed = run_rule(AR, net, params, batch, state=state, backward="fixed", steps=600).grads
    swept = run_rule("feedback-alignment", net, params, batch, state=state).grads
    assert worst(relaxed, swept) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_without_the_derivative_errors_come_down_by_the_weights_alone(seed: int) -> None:
    net = make_network(WIDTHS, "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    options: dict[str, Any] = {"steps": 1, "step_size": 1.0, "transport_derivative": False}
    grads = run_rule(AR, net, params, batch, **options).grads
    fwd = forward_pass(net, params, batch)
    error, expected = fwd.error, {}
    for l in range(net.depth, 0, -1):
        step = fwd.trace[l - 1]
        delta = step.slope * error
        expected[f"{l}.weight"] = delta.T @ step.input / len(batch.x)
        expected[f"{l}.bias"] = delta.mean(0)
        error = error @ params[f"{l}.weight"]
    assert worst(grads, {name: expected[name] for name in grads}) <= EXACT
