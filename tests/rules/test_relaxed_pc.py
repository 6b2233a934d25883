"""Relaxed predictive coding: what its relaxations reduce to, and how its wiring learns."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    get_rule,
    make_network,
    random_batch,
    random_params,
    run_rule,
    worst,
)

RPC = "relaxed-predictive-coding"
LEAKY = "leaky_relu(0.1)"
WIDTHS = (9, 12, 10, 8, 4)
STEPS: dict[str, Any] = {"steps": 25, "step_size": 0.1}
STRICT: dict[str, Any] = {
    "backward": "transpose",
    "transport_derivative": True,
    "dense_errors": False,
}


def forward_weights(net: Network, params: Params) -> Params:
    """B = W, stored like it."""
    return {f"{l}.weight": params[f"{l}.weight"] for l in range(2, net.depth + 1)}


def one_to_one(net: Network) -> Params:
    """M = I."""
    return {
        f"{l}.wiring": torch.eye(net.layers[l - 1].out_shape[0], dtype=torch.float64)
        for l in range(1, net.depth)
    }


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", [LEAKY, "tanh", "relu"])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("backward", ["transpose", "fixed", "learned"])
def test_t_rpc_1_without_relaxations_it_is_predictive_coding_with_fixed_predictions(
    backward: str, dense: bool, activation: str, loss: str, seed: int
) -> None:
    net = make_network(WIDTHS, activation, loss)
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 8, seed)
    aux = forward_weights(net, params) if backward == "learned" else {}
    memory = forward_weights(net, params) if backward == "fixed" else {}
    state = State(aux | (one_to_one(net) if dense else {}), memory)
    options = STRICT | STEPS | {"backward": backward, "dense_errors": dense}
    grads = run_rule(RPC, net, params, batch, state=state, **options).grads
    expected = run_rule("predictive-coding-fixed", net, params, batch, **STEPS).grads
    assert worst(grads, expected) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_rpc_1_linear_feedback_is_exact_in_a_linear_network(seed: int) -> None:
    net = make_network(WIDTHS, "identity", "mse")
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 8, seed)
    options = STRICT | STEPS | {"transport_derivative": False}
    grads = run_rule(RPC, net, params, batch, **options).grads
    expected = run_rule("predictive-coding-fixed", net, params, batch, **STEPS).grads
    assert worst(grads, expected) <= EXACT


def slow_update(net: Network, params: Params, state: State, x: Any, y: Any, options: Any) -> Params:
    """The rule as written in rules.md 5.5, in mu_l, with every relaxation on; dense layers."""
    hs = [x]
    for l, layer in enumerate(net.layers, start=1):
        hs.append(layer.activation(hs[-1] @ params[f"{l}.weight"].T + params[f"{l}.bias"]))
    slopes = [step.slope for step in net.forward(params, x)]
    top = net.depth
    mus = list(hs)

    def eps(l: int) -> Any:
        if l == top:
            return -net.loss.error(hs[top], y)
        return mus[l] - hs[l] @ state.aux[f"{l}.wiring"]

    for _ in range(options["steps"]):
        steps = [eps(l) - eps(l + 1) @ state.aux[f"{l + 1}.weight"] for l in range(1, top)]
        for l, step in enumerate(steps, start=1):
            mus[l] = mus[l] - options["step_size"] * step
    grads: Params = {}
    for l in range(1, top + 1):
        delta = -slopes[l - 1] * eps(l)
        grads[f"{l}.weight"] = delta.T @ hs[l - 1] / len(x)
        grads[f"{l}.bias"] = delta.mean(0)
        if l < top:
            grads[f"{l}.wiring"] = -(hs[l].T @ eps(l)) / len(x)
    return grads


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", [LEAKY, "tanh", "relu"])
def test_the_full_construct_is_the_iteration_of_the_activities(
    activation: str, loss: str, seed: int
) -> None:
    net = make_network(WIDTHS, activation, loss)
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 8, seed)
    state = get_rule(RPC).init_state(net, params, Stream(seed))
    update = run_rule(RPC, net, params, batch, state=state, **STEPS)
    expected = slow_update(net, params, state, batch.x, batch.y, STEPS)
    wiring = {name: grad for name, grad in expected.items() if name.endswith("wiring")}
    back = {name: expected[name] for name in forward_weights(net, params)}
    assert worst(update.grads, {name: expected[name] for name in params}) <= EXACT
    assert worst(update.aux_grads, back | wiring) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_rpc_2_wiring_learns_down_the_energy(seed: int) -> None:
    # early in the relaxation: at rest q does not depend on M
    net = make_network(WIDTHS, "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    options = STRICT | {"dense_errors": True, "steps": 5, "step_size": 0.1}
    energies = {}
    for sign in (1, -1):
        state = get_rule(RPC, **options).init_state(net, params, Stream(seed))
        curve = []
        for _ in range(200):
            update = run_rule(RPC, net, params, batch, state=state, **options)
            curve.append(float(update.metrics["energy"]))
            aux = {name: m - sign * 0.2 * update.aux_grads[name] for name, m in state.aux.items()}
            state = State(aux, {})
        energies[sign] = curve
    assert all(after < before for before, after in pairwise(energies[1]))
    assert energies[-1][-1] > 1e6 * energies[-1][0]


@pytest.mark.parametrize("seed", SEEDS)
def test_at_rest_the_wiring_does_not_matter_to_the_weights(seed: int) -> None:
    net = make_network(WIDTHS, "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    dense = run_rule(RPC, net, params, batch, seed=seed, steps=600, step_size=0.1).grads
    plain: dict[str, Any] = {"steps": 600, "step_size": 0.1, "dense_errors": False}
    assert worst(dense, run_rule(RPC, net, params, batch, seed=seed, **plain).grads) <= EXACT


def test_each_relaxation_has_its_own_auxiliary_parameters() -> None:
    net = make_network((6, 5, 4, 3), "tanh", "mse")
    params = random_params(net, 0)
    weights, wiring = {"2.weight", "3.weight"}, {"1.wiring", "2.wiring"}
    for backward, dense, aux, memory in (
        ("learned", True, weights | wiring, set()),
        ("fixed", True, wiring, weights),
        ("transpose", True, wiring, set()),
        ("learned", False, weights, set()),
        ("fixed", False, set(), weights),
    ):
        rule = get_rule(RPC, backward=backward, dense_errors=dense)
        state = rule.init_state(net, params, Stream(0))
        assert (state.aux.keys(), state.memory.keys()) == (aux, memory)
        assert all((m >= 0).all() for name, m in state.aux.items() if name in wiring)
