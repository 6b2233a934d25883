"""Local losses against autograd of the losses as torch writes them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
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

NAME = "local-losses"


def correlations(z: Tensor) -> Tensor:
    """As numpy's corrcoef of the rows."""
    return torch.corrcoef(z)


def local_loss(h: Tensor, y: Tensor, own: Params, memory: Params, loss: str, bio: bool) -> Tensor:
    """J_l of one layer's activity, from the paper's section 2 and the authors' options."""
    beta = {"predsim": 0.99, "pred": 0.0, "sim": 1.0}[loss]
    targets = y @ memory["targets"].T if bio else y
    total = h.new_zeros(())
    if loss != "sim":
        logits = h @ own["readout"].T + own["offset"]
        if bio:
            signs = (targets > 0).to(h.dtype)
            prediction = F.binary_cross_entropy_with_logits(logits, signs)
        else:
            prediction = F.cross_entropy(logits, y.argmax(1))
        total = total + (1 - beta) * prediction
    if loss != "pred":
        z = h @ own["similarity"].T if "similarity" in own else h
        total = total + beta * F.mse_loss(correlations(z), correlations(targets))
    return total


def rules_update(
    net: Network, params: Params, seed: int, loss: str, bio: bool, size: int = 8
) -> tuple[Params, Params, State]:
    rule = get_rule(NAME, local_loss=loss, bio=bio, target_size=6)
    state = rule.init_state(net, params, Stream(seed).at("state"))
    batch = random_batch(net, size, seed)
    update = run_rule(
        NAME, net, params, batch, state=state, local_loss=loss, bio=bio, target_size=6
    )
    return update.grads, update.aux_grads, state


def expected(
    net: Network, params: Params, seed: int, l: int, state: State, loss: str, bio: bool
) -> tuple[Params, Params]:
    """Autograd of J_l at layer l's parameters and its auxiliary ones, its input held."""
    batch = random_batch(net, 8, seed)
    below = net.forward(params, batch.x)[l].input
    mine = {k: v.clone().requires_grad_() for k, v in params.items() if k.startswith(f"{l + 1}.")}
    aux = {k: v.clone().requires_grad_() for k, v in net.at(state.aux, l).items()}
    memory = net.at(state.memory, l)
    h = net.step(params | mine, l, below).output.flatten(1)
    if bio and loss != "sim":  # the readout's error comes down through other weights
        held = h.detach().requires_grad_()
        down = (0.01 if loss == "predsim" else 1.0) * _bio_error(held, batch.y, aux, memory)
        surrogate = (h * down).sum()
        if loss == "predsim":
            surrogate = surrogate + local_loss(h, batch.y, {}, memory, "sim", True) * 0.99
        grads = torch.autograd.grad(surrogate, list(mine.values()))
        value = local_loss(held, batch.y, aux, memory, "pred", True)
        scale = 0.01 if loss == "predsim" else 1.0
        own = torch.autograd.grad(scale * value, list(aux.values()))
    else:
        value = local_loss(h, batch.y, aux, memory, loss, bio)
        both = torch.autograd.grad(value, [*mine.values(), *aux.values()], allow_unused=True)
        grads, own = both[: len(mine)], both[len(mine) :]
    return dict(zip(mine, grads, strict=True)), dict(zip(aux, own, strict=True))


def _bio_error(h: Tensor, y: Tensor, aux: Params, memory: Params) -> Tensor:
    """The mean loss's gradient at h with the fixed weights in the readout's place."""
    logits = (h @ aux["readout"].T + aux["offset"]).detach()
    signs = (y @ memory["targets"].T > 0).to(h.dtype)
    return (torch.sigmoid(logits) - signs) / logits.numel() @ memory["feedback"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bio", [False, True])
@pytest.mark.parametrize("loss", ["predsim", "pred", "sim"])
def test_every_layer_descends_its_own_loss(loss: str, bio: bool, seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params = random_params(net, seed)
    grads, aux_grads, state = rules_update(net, params, seed, loss, bio)
    for l in (0, 1):
        due, own = expected(net, params, seed, l, state, loss, bio)
        assert all(rel(grads[k], v) <= 10 * EXACT for k, v in due.items())
        for name, gradient in own.items():
            assert rel(aux_grads[f"{l + 1}.{name}"], gradient) <= 10 * EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_images_are_flattened_and_have_no_mixing_weights(seed: int) -> None:
    net = make_convolutional("tanh")
    params = random_params(net, seed)
    grads, aux_grads, state = rules_update(net, params, seed, "predsim", False)
    assert set(state.aux) == {f"{l}.{name}" for l in (1, 3) for name in ("readout", "offset")}
    for l in (0, 2):
        due, own = expected(net, params, seed, l, state, "predsim", False)
        assert all(rel(grads[k], v) <= 10 * EXACT for k, v in due.items())
        assert worst(net.at(aux_grads, l), own) <= 10 * EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_the_last_layer_learns_by_the_tasks_loss(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "sigmoid", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    grads, _, _ = rules_update(net, params, seed, "predsim", False)
    top = run_rule("backprop", net, params, batch).grads
    assert all(rel(grads[k], top[k]) <= EXACT for k in ("3.weight", "3.bias"))


def test_silent_layers_get_no_update_that_is_not_finite() -> None:
    """Units that all give the same have no correlations: their rows count as 0."""
    net = make_network((9, 12, 7, 4), "relu", "cross_entropy")
    params = random_params(net, 0)
    dead = params | {"1.bias": params["1.bias"] - 1e3, "2.weight": 0 * params["2.weight"]}
    for loss in ("predsim", "pred", "sim"):
        grads, aux_grads, _ = rules_update(net, dead, 0, loss, False)
        assert all(tensor.isfinite().all() for tensor in (*grads.values(), *aux_grads.values()))


def test_it_refuses_networks_without_hidden_layers() -> None:
    rule = get_rule(NAME)
    assert "no hidden layer" in (rule.supports(make_network((4, 4), "tanh")) or "")
    assert rule.supports(make_network((4, 4, 4), "tanh")) is None
