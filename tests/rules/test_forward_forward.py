"""Forward-forward against autograd of each layer's own contrast, with passes written by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Params
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    get_rule,
    make_convolutional,
    make_network,
    random_batch,
    random_params,
    rel,
    worst,
)

NAME = "forward-forward"
NONE = State({}, {})


def unit_rms(h: Tensor) -> Tensor:
    # a silent layer stays silent
    return h / h.square().mean(1, keepdim=True).sqrt().clamp(min=1e-300)


def dense_pass(params: Params, x: Tensor, y: Tensor) -> list[Tensor]:
    """h_1, h_2 and the readout of a 12-10-7-4 relu network, each layer's input held."""
    h = torch.cat([y, x[:, 4:]], dim=1)
    found = []
    for l in (1, 2, 3):
        a = unit_rms(h).detach() @ params[f"{l}.weight"].T + params[f"{l}.bias"]
        h = a if l == 3 else a.clamp(min=0)
        found.append(h)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_layers_descend_their_own_contrast(seed: int) -> None:
    net = make_network((12, 10, 7, 4), "relu", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    # which wrong label: the first, second or third after the right one, cyclically
    u = torch.tensor([0.1, 0.5, 0.9, 0.2, 0.6, 0.8, 0.3, 0.4]).double()
    steps = torch.tensor([1, 2, 3, 1, 2, 3, 1, 2])
    wrong = F.one_hot((batch.y.argmax(1) + steps) % 4, 4).double()
    leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
    right, other = (dense_pass(leaves, batch.x, y) for y in (batch.y, wrong))
    total = F.cross_entropy(
        dense_pass(leaves, batch.x, torch.full((8, 4), 0.25).double())[2], batch.y.argmax(1)
    )
    for l, n in ((0, 10), (1, 7)):
        # binary cross-entropy of sigmoid(g - theta n) and whether the label is right
        logits = torch.cat([h[l].square().sum(1) for h in (right, other)]) - 0.5 * n
        truth = torch.cat([torch.ones(8), torch.zeros(8)]).double()
        total = total + F.binary_cross_entropy_with_logits(logits, truth)
    due = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))
    rule = get_rule(NAME, threshold=0.5)
    update = rule.update(net, params, NONE, batch, {"wrong": u})
    assert worst(update.grads, due) <= EXACT
    value = rule.objective_at(net, params, NONE, batch, {"wrong": u})
    assert value is not None
    assert rel(value, total.detach()) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_updates_are_the_objectives_gradient_on_images(seed: int) -> None:
    net = make_convolutional("tanh")
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    noise = {"wrong": torch.linspace(0.05, 0.95, 6).double()}
    rule = get_rule(NAME)
    leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
    value = rule.objective_at(net, leaves, NONE, batch, noise)
    assert value is not None
    due = dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))
    assert worst(rule.update(net, params, NONE, batch, noise).grads, due) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_it_predicts_the_label_that_excites_most(seed: int) -> None:
    """All hidden layers count but the first, each label in a pass of its own."""
    net = make_network((12, 10, 7, 4), "relu", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    columns = [
        dense_pass(params, batch.x, F.one_hot(torch.full((8,), c), 4).double())[1].square().sum(1)
        for c in range(4)
    ]
    assert rel(get_rule(NAME).predict(net, params, NONE, batch.x), torch.stack(columns, 1)) <= EXACT
    neutral = torch.full((8, 4), 0.25).double()
    readout = get_rule(NAME, predict_by="readout").predict(net, params, NONE, batch.x)
    assert rel(readout, dense_pass(params, batch.x, neutral)[2]) <= EXACT


def test_with_one_hidden_layer_that_one_counts_and_auxiliary_outputs_are_zero() -> None:
    net = make_network((12, 10, 6), "relu", "mse", classes=4)
    params, batch = random_params(net, 0), random_batch(net, 8, 0)
    found = get_rule(NAME).predict(net, params, NONE, batch.x)
    assert found.shape == (8, 6)
    assert not found[:, 4:].any()
    assert found[:, :4].std(dim=1).min() > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_wrong_label_is_never_the_right_one_and_each_other_equally_often(seed: int) -> None:
    """Evenly spaced draws must hit the three others equally often."""
    net = make_network((12, 10, 4), "relu", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 1, seed)
    rule = get_rule(NAME)
    found: dict[float, int] = {}
    for u in ((torch.arange(30) + 0.5) / 30).double():
        contrast = rule.update(net, params, NONE, batch, {"wrong": u[None]}).metrics["contrast"]
        key = round(float(contrast), 12)
        found[key] = found.get(key, 0) + 1
    assert sorted(found.values()) == [10, 10, 10]
    y = batch.y.argmax(1)
    right = dense_pass_goodness(params, batch.x, y)
    others = [dense_pass_goodness(params, batch.x, (y + k) % 4) for k in (1, 2, 3)]
    due = sorted(
        round(float(0.5 * (F.softplus(10 - right) + F.softplus(g - 10))), 12) for g in others
    )
    assert sorted(found) == pytest.approx(due, abs=1e-11)


def dense_pass_goodness(params: Params, x: Tensor, label: Tensor) -> Tensor:
    h = torch.cat([F.one_hot(label, 4).double(), x[:, 4:]], dim=1)
    a = unit_rms(h) @ params["1.weight"].T + params["1.bias"]
    return a.clamp(min=0).square().sum()


def test_silent_layers_stay_finite() -> None:
    net = make_network((12, 10, 7, 4), "relu", "cross_entropy")
    params, batch = random_params(net, 0), random_batch(net, 8, 0)
    dead = params | {"1.bias": params["1.bias"] - 1e3}
    noise = {"wrong": torch.full((8,), 0.5).double()}
    for x in (batch.x, 0 * batch.x, 1e15 * batch.x):
        update = get_rule(NAME).update(net, dead, NONE, Batch(x, batch.y), noise)
        assert all(g.isfinite().all() for g in update.grads.values())


def test_it_says_what_it_cannot_train() -> None:
    rule = get_rule(NAME)
    assert "hidden layers" in (rule.supports(make_network((12, 4), "relu")) or "")
    assert "no room" in (rule.supports(make_network((4, 6, 4), "relu")) or "")
    assert rule.supports(make_network((12, 6, 4), "relu")) is None
