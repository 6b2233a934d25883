"""Layer-wise feedback propagation against a hand-written relevance route and autograd."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from bioplaus.learning.layered_rule import LayeredRule
from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    forward_pass,
    get_rule,
    make_convolutional,
    make_network,
    random_batch,
    random_params,
    run_rule,
    worst,
)

NAME = "layerwise-feedback-propagation"
LEAKY = "leaky_relu(0.1)"
WIDTHS = (9, 14, 11, 7, 5)
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    LEAKY: lambda a: torch.nn.functional.leaky_relu(a, 0.1),
    "relu": torch.relu,
    "identity": lambda a: a,
    "tanh": torch.tanh,
}


def setting(
    activation: str, loss: str, seed: int, *, bias: bool = True
) -> tuple[Network, Params, Batch]:
    net = make_network(WIDTHS, activation, loss, bias=bias)
    return net, random_params(net, seed, scheme="gaussian"), random_batch(net, 8, seed)


def relevance_route(
    activation: str, loss: str, depth: int, params: Params, batch: Batch
) -> tuple[Params, list[Tensor]]:
    """-feedback for every parameter, and r_0 .. r_L, written out from the definition."""
    f, n = FUNCTIONS[activation], len(batch.x)
    h, a = [batch.x], []
    for l in range(1, depth + 1):
        a.append(h[-1] @ params[f"{l}.weight"].T + params.get(f"{l}.bias", 0))
        linear = l == depth and loss == "cross_entropy"
        h.append(a[-1] if linear else f(a[-1]))
    answer = torch.softmax(h[-1], 1) if loss == "cross_entropy" else h[-1]
    reward = a[-1] * (batch.y - answer)
    grads, rewards = {}, [reward]
    for l in range(depth, 0, -1):
        potential = a[l - 1]
        rho = torch.where(potential == 0, 0.0, reward / potential)
        weight = params[f"{l}.weight"]
        grads[f"{l}.weight"] = -weight.abs() * (rho.T @ h[l - 1]) / n
        if f"{l}.bias" in params:
            grads[f"{l}.bias"] = -params[f"{l}.bias"].abs() * rho.mean(0)
        reward = h[l - 1] * (rho @ weight)
        rewards.insert(0, reward)
    return grads, rewards


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_t_lfp_0_equals_the_relevance_route(activation: str, loss: str, seed: int) -> None:
    net, params, batch = setting(activation, loss, seed)
    expected, _ = relevance_route(activation, loss, net.depth, params, batch)
    assert worst(run_rule(NAME, net, params, batch).grads, expected) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("activation", [LEAKY, "relu", "identity"])
def test_t_lfp_1_is_backprop_gated_by_the_parameters(activation: str, seed: int) -> None:
    net, params, batch = setting(activation, "cross_entropy", seed)
    true = autograd_grads(net, params, batch)
    gated = {name: params[name].abs() * grad for name, grad in true.items()}
    assert worst(run_rule(NAME, net, params, batch).grads, gated) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_lfp_2_other_activations_carry_errors_by_their_quotient(seed: int) -> None:
    net, params, batch = setting("tanh", "cross_entropy", seed)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
    h = batch.x
    for l in range(1, net.depth + 1):
        a = h @ leaves[f"{l}.weight"].T + leaves[f"{l}.bias"]
        # with f(a) / a held, autograd's derivative of f is that quotient
        h = a if l == net.depth else a * (torch.tanh(a) / a).detach()
    loss = torch.nn.functional.cross_entropy(h, batch.y.argmax(1))
    grads = torch.autograd.grad(loss, list(leaves.values()))
    gated = {name: params[name].abs() * grad for name, grad in zip(leaves, grads, strict=True)}
    ours = run_rule(NAME, net, params, batch).grads
    assert worst(ours, gated) <= EXACT
    plain = autograd_grads(net, params, batch)
    assert worst(ours, {name: params[name].abs() * g for name, g in plain.items()}) > 0.01


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_t_lfp_3_rewards_are_conserved_without_biases(activation: str, seed: int) -> None:
    net, params, batch = setting(activation, "cross_entropy", seed, bias=False)
    rule = get_rule(NAME)
    assert isinstance(rule, LayeredRule)
    fwd = forward_pass(net, params, batch)
    deltas = rule.deltas(fwd)
    rewards = [-step.preactivation * d for step, d in zip(fwd.trace, deltas, strict=True)]
    rewards.insert(0, -batch.x * (deltas[0] @ params["1.weight"]))
    for below, above in pairwise(rewards):
        gap = (below.sum(1) - above.sum(1)).abs()
        assert (gap <= 1e-12 * above.abs().sum(1)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_layerwise_feedback_propagation_never_moves_a_zero_bias(seed: int) -> None:
    net, params, batch = setting("relu", "cross_entropy", seed)
    params |= {name: torch.zeros_like(t) for name, t in params.items() if name.endswith("bias")}
    grads = run_rule(NAME, net, params, batch).grads
    assert not any(grads[name].any() for name in grads if name.endswith("bias"))
    assert all(grads[name].any() for name in grads if name.endswith("weight"))


def test_layerwise_feedback_propagation_gives_nothing_to_units_without_potential() -> None:
    net, params, batch = setting("tanh", "cross_entropy", 0, bias=False)
    blank = Batch(torch.zeros_like(batch.x), batch.y)
    grads = run_rule(NAME, net, params, blank).grads
    assert not any(grad.any() for grad in grads.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_t_lfp_1_holds_through_convolutions_and_pooling(seed: int) -> None:
    net = make_convolutional("relu")
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 8, seed)
    true = autograd_grads(net, params, batch)
    gated = {name: params[name].abs() * grad for name, grad in true.items()}
    assert worst(run_rule(NAME, net, params, batch).grads, gated) <= EXACT


def test_layerwise_feedback_propagation_refuses_activations_that_are_not_zero_at_zero() -> None:
    reason = get_rule(NAME).supports(make_network((4, 4, 4), "sigmoid"))
    assert reason is not None and "sigmoid" in reason
