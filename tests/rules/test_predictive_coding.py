"""Predictive coding: where it is backprop, its equilibrium where it is not, and a slow oracle."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import comb
from typing import Any

import pytest
import torch
from torch import Tensor

from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Params
from bioplaus.network.losses import Loss
from bioplaus.network.network import Network
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    chain,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    single_examples,
    worst,
)

LEAKY = "leaky_relu(0.1)"
WIDTHS = (9, 12, 10, 8, 7, 6, 4)
CASES = [(LEAKY, "mse"), (LEAKY, "cross_entropy"), ("tanh", "mse"), ("tanh", "cross_entropy")]


def gain(k: int, steps: int, eta: float) -> float:
    """c_k(T) = P[Binomial(T, eta) >= k], the share of backprop's error k layers below the top."""
    return math.fsum(
        comb(steps, j) * eta**j * (1 - eta) ** (steps - j) for j in range(k, steps + 1)
    )


def fixed(net: Network, params: Params, batch: Batch, steps: int, eta: float) -> Params:
    """Gradients under the fixed-prediction assumption."""
    options: dict[str, Any] = {"fixed_prediction": True, "steps": steps, "step_size": eta}
    return run_rule("predictive-coding", net, params, batch, **options).grads


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("activation", "loss"), CASES)
@pytest.mark.parametrize("depth", [2, 3, 6])
def test_t_pc_1_fixed_prediction_is_backprop_after_l_minus_1_full_steps(
    depth: int, activation: str, loss: str, seed: int
) -> None:
    net = make_network(WIDTHS[-depth - 1 :], activation, loss)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 8, seed)
    grads = fixed(net, params, batch, steps=depth - 1, eta=1.0)
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_pc_1_holds_in_a_tower(seed: int) -> None:
    net = make_network((12, 12, 8, 4), LEAKY, "mse", kind="tower")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    grads = fixed(net, params, batch, steps=2, eta=1.0)
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("steps", "eta"), [(1, 0.3), (3, 0.1), (5, 0.7), (40, 0.05)])
@pytest.mark.parametrize(("activation", "loss"), CASES)
def test_t_pc_2_fixed_prediction_has_backprops_errors_times_a_binomial_tail(
    activation: str, loss: str, steps: int, eta: float, seed: int
) -> None:
    net = make_network(WIDTHS, activation, loss)
    params = random_params(net, seed, scheme="gaussian")
    (batch,) = single_examples(random_batch(net, 1, seed))
    grads, expected = fixed(net, params, batch, steps, eta), autograd_grads(net, params, batch)
    for l, step in enumerate(net.forward(params, batch.x), start=1):
        share = gain(net.depth - l, steps, eta)
        assert (share == 0) == (net.depth - l > steps)
        q, e = (g[f"{l}.bias"] / step.slope[0] for g in (grads, expected))
        assert rel(q, share * e) <= EXACT
        assert rel(grads[f"{l}.weight"], share * expected[f"{l}.weight"]) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("activation", "loss"), CASES)
def test_t_pc_3_fixed_prediction_converges_to_backprop(
    activation: str, loss: str, seed: int
) -> None:
    net = make_network(WIDTHS, activation, loss)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 8, seed)
    grads = fixed(net, params, batch, steps=60, eta=0.5)
    assert worst(grads, autograd_grads(net, params, batch)) <= 1e-12


def linear_weights(net: Network, params: Params) -> list[Tensor]:
    return [params[f"{l}.weight"] for l in range(1, net.depth + 1)]


def inference_hessian(weights: list[Tensor]) -> Tensor:
    """Second derivative of E of one example in (mu_1 .. mu_{L-1}), linear network and mse."""
    sizes = [len(w) for w in weights[:-1]]

    def energy(flat: Tensor) -> Tensor:
        mus = [torch.zeros(weights[0].shape[1], dtype=flat.dtype), *flat.split(sizes)]
        hidden = [mu - w @ below for w, below, mu in zip(weights, mus, mus[1:], strict=False)]
        return 0.5 * sum(e.square().sum() for e in [*hidden, weights[-1] @ mus[-1]])

    return torch.autograd.functional.hessian(energy, torch.zeros(sum(sizes), dtype=torch.float64))


def equilibrium_energy(net: Network, params: Params, batch: Batch) -> Tensor:
    """E* = 1/2 <r^T S^{-1} r>, r = t - h_L, S = I + sum_l M_l M_l^T with M_l = W_L .. W_{l+1}."""
    weights = linear_weights(net, params)
    h = batch.x
    for l, weight in enumerate(weights, start=1):
        h = h @ weight.T + params[f"{l}.bias"]
    r = batch.y - h
    s = torch.eye(r.shape[1], dtype=r.dtype)
    for l in range(1, net.depth):
        m = chain(weights[l:])
        s = s + m @ m.T
    return 0.5 * (r * torch.linalg.solve(s, r.T).T).sum(1).mean()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_t_pc_5_equilibrium_follows_the_gradient_of_the_equilibrium_energy(
    depth: int, seed: int
) -> None:
    net = make_network((8, 7, 6, 5, 4)[-depth - 1 :], "identity", "mse")
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 6, seed)
    eigenvalues = torch.linalg.eigvalsh(inference_hessian(linear_weights(net, params)))
    eta = 1 / float(eigenvalues[-1])
    steps = math.ceil(27 / (eta * float(eigenvalues[0])))
    update = run_rule("predictive-coding", net, params, batch, steps=steps, step_size=eta)

    leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
    energy = equilibrium_energy(net, leaves, batch)
    grads = torch.autograd.grad(energy, list(leaves.values()))
    assert worst(update.grads, dict(zip(leaves, grads, strict=True))) <= 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_t_pc_5_energy_never_rises(seed: int) -> None:
    net = make_network((8, 7, 6, 5, 4), "identity", "mse")
    params = random_params(net, seed, scheme="gaussian")
    (batch,) = single_examples(random_batch(net, 1, seed))
    eigenvalues = torch.linalg.eigvalsh(inference_hessian(linear_weights(net, params)))
    eta = 1 / float(eigenvalues[-1])
    energies = [float(net.mean_loss(params, batch.x, batch.y))]  # E(0): the forward pass
    for steps in range(1, 21):
        grads = run_rule("predictive-coding", net, params, batch, steps=steps, step_size=eta).grads
        # one example and f' = 1: the bias gradients are the errors -eps_l themselves
        energies.append(
            0.5 * sum(float(grads[f"{l}.bias"].square().sum()) for l in range(1, net.depth + 1))
        )
    for before, after in pairwise(energies):
        assert after <= before * (1 + 1e-14)
    assert energies[-1] < energies[0]


class Scaled(Loss):
    """Another loss times a factor."""

    name = "scaled"

    def __init__(self, loss: Loss, factor: float) -> None:
        self._loss, self._factor = loss, factor

    def value(self, output: Tensor, targets: Tensor) -> Tensor:
        return self._factor * self._loss.value(output, targets)

    def error(self, output: Tensor, targets: Tensor) -> Tensor:
        return self._factor * self._loss.error(output, targets)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("activation", "depth"), [("tanh", 4), ("identity", 2)])
def test_t_pc_6_a_weak_output_loss_gives_backprop(activation: str, depth: int, seed: int) -> None:
    net = make_network((8, 7, 6, 5, 4)[-depth - 1 :], activation, "mse")
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    expected = autograd_grads(net, params, batch)
    distance = {}
    for alpha in (1e-3, 1e-4):
        weak = replace(net, loss=Scaled(net.loss, alpha))
        options: dict[str, Any] = {"steps": 1000, "step_size": 0.1}
        grads = run_rule("predictive-coding", weak, params, batch, **options).grads
        distance[alpha] = {name: rel(grads[name] / alpha, expected[name]) for name in expected}
    for name in expected:
        assert 8 <= distance[1e-3][name] / distance[1e-4][name] <= 12
        assert distance[1e-4][name] < 5e-3


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    LEAKY: lambda a: torch.nn.functional.leaky_relu(a, 0.1),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def energy(
    params: Params, mus: list[Tensor], x: Tensor, y: Tensor, activation: str, loss: str
) -> Tensor:
    """E of one example as a function of its hidden activities and of the parameters."""
    below, total = x, torch.zeros((), dtype=torch.float64)
    for l, mu in enumerate(mus, start=1):
        prediction = FUNCTIONS[activation](params[f"{l}.weight"] @ below + params[f"{l}.bias"])
        total = total + 0.5 * (mu - prediction).square().sum()
        below = mu
    top = len(mus) + 1
    a = params[f"{top}.weight"] @ below + params[f"{top}.bias"]
    if loss == "cross_entropy":
        return total - torch.log_softmax(a, 0)[y.argmax()]
    return total + 0.5 * (FUNCTIONS[activation](a) - y).square().sum()


def slow_grads(
    net: Network, params: Params, batch: Batch, activation: str, steps: int, eta: float
) -> Params:
    """Gradient descent on E in the activities, then dE/dW, by autograd, example by example."""
    grads = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
    for x, y in zip(batch.x, batch.y, strict=True):
        mus, below = [], x
        for l in range(1, net.depth):
            a = params[f"{l}.weight"] @ below + params[f"{l}.bias"]
            below = FUNCTIONS[activation](a)
            mus.append(below)
        for _ in range(steps):
            mus = [mu.detach().requires_grad_() for mu in mus]
            e = energy(params, mus, x, y, activation, net.loss.name)
            slopes = torch.autograd.grad(e, mus)
            mus = [mu - eta * slope for mu, slope in zip(mus, slopes, strict=True)]
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
        e = energy(leaves, [mu.detach() for mu in mus], x, y, activation, net.loss.name)
        for name, slope in zip(leaves, torch.autograd.grad(e, list(leaves.values())), strict=True):
            grads[name] += slope / len(batch.x)
    return grads


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("steps", [1, 12])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_standard_inference_descends_the_energy(
    activation: str, loss: str, steps: int, seed: int
) -> None:
    net = make_network((7, 6, 5, 4), activation, loss)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 3, seed)
    options: dict[str, Any] = {"steps": steps, "step_size": 0.15}
    grads = run_rule("predictive-coding", net, params, batch, **options).grads
    assert worst(grads, slow_grads(net, params, batch, activation, steps, 0.15)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fixed_prediction", [True, False])
def test_the_loss_reported_is_that_of_the_forward_pass(fixed_prediction: bool, seed: int) -> None:
    net = make_network((7, 6, 5, 4), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 5, seed)
    update = run_rule("predictive-coding", net, params, batch, fixed_prediction=fixed_prediction)
    torch.testing.assert_close(
        update.metrics["loss"], net.mean_loss(params, batch.x, batch.y), rtol=1e-14, atol=0
    )
