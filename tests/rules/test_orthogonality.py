"""GAIT-prop's orthogonality regulariser is the gradient of its penalty."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.networks import (
    EXACT,
    SEEDS,
    make_network,
    random_batch,
    random_params,
    run_rule,
    worst,
)

LEAKY = "leaky_relu(0.1)"


def penalty(weight: Tensor, strength: float, form: str) -> Tensor:
    """The regulariser as defined."""
    if form == "identity":
        gram = weight @ weight.T
        return strength * (gram - torch.eye(len(gram), dtype=gram.dtype)).square().sum()
    gram = weight.T @ weight
    mask = 1 - torch.eye(len(gram), dtype=gram.dtype)
    return strength * (gram.square() * mask).sum()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("form", ["offdiag", "identity"])
@pytest.mark.parametrize("kind", ["dense", "tower"])
def test_t_gait_6_regulariser_is_the_gradient_of_the_penalty(
    kind: str, form: str, seed: int
) -> None:
    widths = (20, 12, 12, 12) if kind == "dense" else (20, 20, 12, 5)
    net = make_network(widths, LEAKY, "mse", kind=kind, classes=5)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 4, seed)
    update = run_rule("gaitprop", net, params, batch, ortho=0.3, ortho_form=form)
    expected = {}
    for name, weight in params.items():
        if name.endswith("weight"):
            leaf = weight.clone().requires_grad_()
            (expected[name],) = torch.autograd.grad(penalty(leaf, 0.3, form), leaf)
    assert worst(update.penalty, expected) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_gait_6_regulariser_is_kept_apart_from_the_gradient(seed: int) -> None:
    net = make_network([12] * 4, LEAKY, "mse", classes=5)
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 4, seed)
    without = run_rule("gaitprop", net, params, batch, ortho=0)
    strong = run_rule("gaitprop", net, params, batch, ortho=1000)
    assert without.penalty == {}
    assert all(torch.equal(strong.grads[name], grad) for name, grad in without.grads.items())
