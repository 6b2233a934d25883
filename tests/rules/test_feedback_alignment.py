"""Feedback alignment: backprop when B_l is W_l^T, and feedback weights that stay what they are."""

from __future__ import annotations

import pytest
import torch

from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.feedback import every_case, every_seed, upper_weights
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    get_rule,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)

CASES = [
    ("dense", (9, 12, 7, 5, 4), "leaky_relu(0.1)", "mse"),
    ("dense", (9, 12, 7, 5, 4), "tanh", "cross_entropy"),
    ("dense", (8, 8, 8, 8), "relu", "mse"),
    ("tower", (12, 12, 8, 4), "sigmoid", "cross_entropy"),
]


def state_of(net: Network, params: Params, seed: int) -> State:
    return get_rule("feedback-alignment").init_state(net, params, Stream(seed).at("state"))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("kind", "widths", "activation", "loss"), CASES)
def test_t_fa_1_is_backprop_when_the_feedback_is_the_transpose(
    kind: str, widths: tuple[int, ...], activation: str, loss: str, seed: int
) -> None:
    net = make_network(widths, activation, loss, kind=kind)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 8, seed)
    state = State({}, upper_weights(params))
    assert state_of(net, params, seed).memory.keys() == state.memory.keys()
    grads = run_rule("feedback-alignment", net, params, batch, state=state).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_errors_come_down_through_the_feedback_weights(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params = random_params(net, seed)
    batch = random_batch(net, 8, seed)
    feedback = state_of(net, params, seed).memory
    h = [batch.x]
    for l in (1, 2, 3):
        a = h[-1] @ params[f"{l}.weight"].T + params[f"{l}.bias"]
        h.append(a if l == 3 else torch.tanh(a))
    d = torch.softmax(h[3], 1) - batch.y
    expected = {}
    for l in (3, 2, 1):
        expected[f"{l}.weight"] = d.T @ h[l - 1] / len(d)
        expected[f"{l}.bias"] = d.mean(0)
        if l > 1:
            d = (1 - h[l - 1] ** 2) * (d @ feedback[f"{l}.weight"])
    grads = run_rule("feedback-alignment", net, params, batch, seed).grads
    assert worst(grads, expected) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_the_feedback_is_fixed(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    state = state_of(net, params, seed)
    before = {name: tensor.clone() for name, tensor in state.memory.items()}
    update = run_rule("feedback-alignment", net, params, batch, state=state)
    assert update.memory.keys() == before.keys()
    assert all(torch.equal(update.memory[name], tensor) for name, tensor in before.items())
    assert state.aux == update.aux_grads == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_feedback_depends_on_the_seed_and_not_on_the_weights(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    one = state_of(net, random_params(net, seed), seed).memory
    same = state_of(net, random_params(net, seed + 1), seed).memory
    other = state_of(net, random_params(net, seed), seed + 1).memory
    assert all(torch.equal(same[name], tensor) for name, tensor in one.items())
    assert all(rel(other[name], tensor) > 0.5 for name, tensor in one.items())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_the_feedback_has_the_variance_of_the_description(gain: float, seed: int) -> None:
    net = make_network((40, 300, 200), "tanh", "mse")
    rule = get_rule("feedback-alignment", feedback_gain=gain)
    feedback = rule.init_state(net, random_params(net, 0), Stream(seed)).memory["2.weight"]
    expected = gain * (2 / 500) ** 0.5
    # four standard errors of the mean and of the standard deviation of 60,000 normal numbers
    assert abs(float(feedback.mean())) <= 4 * expected / 60_000**0.5
    assert abs(float(feedback.std()) / expected - 1) <= 4 / (2 * 60_000) ** 0.5


@every_seed
@every_case
@pytest.mark.parametrize("name", ["feedback-alignment", "kolen-pollack", "weight-mirror"])
def test_t_fa_1_holds_wherever_the_feedback_is_kept(
    name: str, kind: str, widths: tuple[int, ...], activation: str, loss: str, seed: int
) -> None:
    net = make_network(widths, activation, loss, kind=kind)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 8, seed)
    drawn = get_rule(name).init_state(net, params, Stream(seed))
    mirror = upper_weights(params)
    state = State(mirror, {}) if drawn.aux else State({}, mirror)
    assert drawn.aux.keys() == state.aux.keys()
    assert drawn.memory.keys() == state.memory.keys()
    grads = run_rule(name, net, params, batch, state=state).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@every_seed
@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("feedback-alignment", 2 / 500),
        ("direct-feedback-alignment", 2 / 500),
        ("kolen-pollack", 1 / 500),
        ("weight-mirror", 1 / 500),
    ],
)
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_the_feedback_starts_with_the_variance_of_the_description(
    gain: float, name: str, variance: float, seed: int
) -> None:
    net = make_network((4, 300, 200), "tanh", "mse")
    rule = get_rule(name, feedback_gain=gain)
    state = rule.init_state(net, random_params(net, 0), Stream(seed))
    (feedback,) = (state.aux | state.memory).values()
    expected = gain * variance**0.5
    # four standard errors of 60,000 normal numbers, which a uniform's are below
    assert abs(float(feedback.mean())) <= 4 * expected / 60_000**0.5
    assert abs(float(feedback.std()) / expected - 1) <= 4 / (2 * 60_000) ** 0.5
