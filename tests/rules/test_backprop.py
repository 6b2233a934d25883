"""Backprop against autograd of an independent forward pass, and against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from tests.helpers.networks import (
    SEEDS,
    autograd_grads,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)

LEAKY = "leaky_relu(0.1)"
TORCH: dict[str, Callable[[Tensor], Tensor]] = {
    LEAKY: lambda a: F.leaky_relu(a, 0.1),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": F.relu,
    "identity": lambda a: a,
}
SHAPES = {
    "square": ("dense", (12, 12, 12, 12), 5),
    "rectangular": ("dense", (9, 14, 7, 4), 4),
    "tower": ("tower", (12, 12, 8, 4), 4),
}


def torch_loss(net: Network, activation: str, params: Params, batch: Batch) -> Tensor:
    """The mean loss in torch's own terms, with none of the code under test."""
    h = batch.x
    for l in range(1, net.depth + 1):
        weight = params[f"{l}.weight"]
        a = F.linear(h[:, : weight.shape[1]], weight, params[f"{l}.bias"])
        linear = l == net.depth and net.loss.name == "cross_entropy"
        h = a if linear else TORCH[activation](a)
    answer = h[:, : net.classes]
    if net.loss.name == "cross_entropy":
        return F.cross_entropy(answer, batch.y.argmax(1))
    return F.mse_loss(answer, batch.y, reduction="sum") / (2 * len(answer))


def torch_grads(net: Network, activation: str, params: Params, batch: Batch) -> Params:
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
    loss = torch_loss(net, activation, leaves, batch)
    grads = torch.autograd.grad(loss, list(leaves.values()))
    return dict(zip(leaves, grads, strict=True))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", TORCH)
def test_t_bp_equals_autograd(activation: str, loss: str, shape: str, seed: int) -> None:
    kind, widths, classes = SHAPES[shape]
    net = make_network(widths, activation, loss, kind=kind, classes=classes)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 8, seed)
    grads = run_rule("backprop", net, params, batch).grads
    assert worst(grads, torch_grads(net, activation, params, batch)) <= 1e-14
    assert worst(grads, autograd_grads(net, params, batch)) <= 1e-14


@pytest.mark.parametrize("seed", SEEDS)
def test_t_bp_output_units_beyond_the_classes_learn_nothing(seed: int) -> None:
    net = make_network((12, 12, 12), LEAKY, "mse", classes=5)
    params = random_params(net, seed)
    update = run_rule("backprop", net, params, random_batch(net, 8, seed))
    assert not update.grads["2.weight"][5:].any()
    assert not update.grads["2.bias"][5:].any()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize(("activation", "step"), [("tanh", 1e-5), ("sigmoid", 1e-5), (LEAKY, 1e-6)])
def test_t_bp_equals_central_finite_differences(
    activation: str, step: float, loss: str, seed: int
) -> None:
    net = make_network((6, 8, 7, 4), activation, loss)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 6, seed)
    grads = run_rule("backprop", net, params, batch).grads
    for name, tensor in params.items():
        offsets = step * torch.eye(tensor.numel(), dtype=torch.float64)

        def moved(offset: Tensor, name: str = name, tensor: Tensor = tensor) -> Tensor:
            changed = params | {name: tensor + offset.reshape(tensor.shape)}
            return torch_loss(net, activation, changed, batch)

        difference = torch.vmap(moved)(offsets) - torch.vmap(moved)(-offsets)
        assert rel(grads[name], (difference / (2 * step)).reshape(tensor.shape)) <= 1e-7


@pytest.mark.parametrize("seed", SEEDS)
def test_backprop_reports_the_mean_loss_and_nothing_else(seed: int) -> None:
    net = make_network((6, 6, 6), LEAKY, "mse", classes=4)
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    update = run_rule("backprop", net, params, batch)
    loss = torch_loss(net, LEAKY, params, batch)
    torch.testing.assert_close(update.metrics["loss"], loss, rtol=1e-14, atol=0)
    assert update.penalty == update.aux_grads == update.memory == {}
