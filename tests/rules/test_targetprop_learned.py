"""Target propagation with learned inverses: what they descend, and the targets they give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bioplaus.learning.batching import Rule
from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.functions import FORWARD, LEAKY
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    get_rule,
    make_network,
    noise_for,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)


def reconstruction_loss(
    net: Network, params: Params, aux: Params, l: int, xi: Tensor, activation: str
) -> Tensor:
    """1/2 <||g_l(F_l(xi)) - xi||^2> at the units that layer l (from 1) reads."""
    weight, bias = params[f"{l}.weight"], params[f"{l}.bias"]
    linear = l == net.depth and net.loss.name == "cross_entropy"
    reads = weight.shape[1]
    a = xi[:, :reads] @ weight.T + bias
    h = (a if linear else FORWARD[activation](a)).detach()
    back = FORWARD[activation](h @ aux[f"{l}.weight"].T + aux[f"{l}.bias"])
    return 0.5 * (back - xi[:, :reads]).square().sum(1).mean()


def learned_setup(net: Network, params: Params, seed: int, sigma: float) -> tuple[Rule, State]:
    """The rule, and a state whose inverses have biases too."""
    rule = get_rule("targetprop", inverse="learned", noise=sigma)
    state = rule.init_state(net, params, Stream(seed).at("state"))
    aux = {
        name: Stream(seed).at("aux", name).normal(t.shape) / t.shape[-1] ** 0.5
        for name, t in state.aux.items()
    }
    return rule, State(aux, state.memory)


CASES = [
    ("dense", (9, 12, 7, 4), LEAKY, "mse"),
    ("dense", (9, 12, 7, 4), "tanh", "cross_entropy"),
    ("dense", (8, 8, 8, 8), "sigmoid", "mse"),
    ("tower", (12, 12, 8, 4), "tanh", "mse"),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize(("kind", "widths", "activation", "loss"), CASES)
def test_t_tp_5_inverses_descend_the_reconstruction_error(
    kind: str, widths: tuple[int, ...], activation: str, loss: str, sigma: float, seed: int
) -> None:
    net = make_network(widths, activation, loss, kind=kind)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 6, seed)
    rule, state = learned_setup(net, params, seed, sigma)
    noise = noise_for(rule, net, batch, seed)
    update = rule.update(net, params, state, batch, noise)

    trace = net.forward(params, batch.x)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in state.aux.items()}
    total = torch.zeros((), dtype=torch.float64)
    for l in range(2, net.depth + 1):
        xi = trace[l - 1].input + sigma * noise[str(l)]
        total = total + reconstruction_loss(net, params, leaves, l, xi, activation)
    expected = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))
    assert update.aux_grads.keys() == {f"{l}.{k}" for l in (2, 3) for k in ("weight", "bias")}
    assert worst(update.aux_grads, expected) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_tp_5_no_gradient_of_the_reconstruction_reaches_the_forward_weights(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    updates = []
    for sigma in (0.0, 0.5):
        rule, state = learned_setup(net, params, seed, sigma)
        updates.append(rule.update(net, params, state, batch, noise_for(rule, net, batch, seed)))
    quiet, noisy = updates
    assert worst(quiet.aux_grads, noisy.aux_grads) > 1e-3
    assert all(torch.equal(noisy.grads[name], grad) for name, grad in quiet.grads.items())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("difference", [True, False])
def test_learned_targets_are_those_of_the_equations(difference: bool, seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    _, state = learned_setup(net, params, seed, 0.1)
    eta = 0.2
    options: dict[str, Any] = {"difference": difference, "target_step": eta}
    grads = run_rule("targetprop", net, params, batch, state=state, **options).grads

    h = [batch.x]
    for l in (1, 2, 3):
        h.append(torch.tanh(h[-1] @ params[f"{l}.weight"].T + params[f"{l}.bias"]))
    t = h[3] - eta * (h[3] - batch.y)
    expected = {}
    for l in (3, 2, 1):
        d = (1 - h[l] ** 2) * (h[l] - t) / eta
        expected[f"{l}.weight"] = d.T @ h[l - 1] / len(d)
        expected[f"{l}.bias"] = d.mean(0)
        if l > 1:
            v, c = state.aux[f"{l}.weight"], state.aux[f"{l}.bias"]
            explained = torch.tanh(t @ v.T + c)
            correction = h[l - 1] - torch.tanh(h[l] @ v.T + c)
            t = explained + correction if difference else explained
    assert worst(grads, expected) <= EXACT * max(1, 1 / eta)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target_step", [1.0, 0.1])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_top_gradient_gives_the_two_highest_layers_the_true_gradient(
    loss: str, target_step: float, seed: int
) -> None:
    net = make_network((9, 12, 7, 4), "tanh", loss)
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    options: dict[str, Any] = {"top": "gradient", "target_step": target_step}
    grads = run_rule("targetprop", net, params, batch, seed, **options).grads
    expected = autograd_grads(net, params, batch)
    for name in ("3.weight", "3.bias"):  # not divided by target_step
        assert rel(grads[name], expected[name]) <= EXACT
    for name in ("2.weight", "2.bias"):  # t_{L-1} = h_{L-1} - eta_t dLoss/dh_{L-1}
        assert rel(grads[name], expected[name]) <= EXACT * max(1, 1 / target_step)
    assert rel(grads["1.weight"], expected["1.weight"]) > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_top_gradient_does_not_use_the_highest_inverse(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    _, state = learned_setup(net, params, seed, 0.1)
    other = State(state.aux | {"3.weight": 5 * state.aux["3.weight"]}, state.memory)
    first = run_rule("targetprop", net, params, batch, state=state, top="gradient").grads
    second = run_rule("targetprop", net, params, batch, state=other, top="gradient").grads
    assert all(torch.equal(second[name], grad) for name, grad in first.items())
