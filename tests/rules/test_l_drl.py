"""Under L-DRL, target propagation comes to be backprop: with the weights held, layer by layer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cosine_similarity, one_hot

from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Init
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from tests.helpers.networks import (
    EXACT,
    autograd_grads,
    get_rule,
    make_network,
    noise_for,
    random_batch,
    rel,
    run_rule,
)

INITIAL = {"relu": Init("lecun_normal", 2**0.5), "tanh": Init("xavier_normal")}


def digits() -> Batch:
    """All of them: inputs as a network meets them, positive and with much in common."""
    split = registry.load("dataset", "digits")().load("train")
    return Batch(split.x.flatten(1).double() / 16, one_hot(split.y, 10).double())


@pytest.mark.parametrize("activation", INITIAL)
def test_by_default_500_steps_align_every_layer_with_the_gradient(activation: str) -> None:
    net = make_network((64, 64, 64, 10), activation, "cross_entropy")
    params = replace(net, initial=INITIAL[activation]).init(Stream(0))
    rule = get_rule("targetprop", inverse_loss="l-drl")
    state = rule.init_state(net, params, Stream(1))
    optimizer = rule.aux_optimizer
    assert optimizer is not None
    assert optimizer != "same"
    x, y = digits()
    for step in range(500):
        some = (Stream(step).uniform((30,)) * len(x)).long()
        batch = Batch(x[some], y[some])
        update = rule.update(net, params, state, batch, noise_for(rule, net, batch, step))
        moved = {k: t - optimizer.lr * update.aux_grads[k] for k, t in state.aux.items()}
        state = State(moved, {})
    batch = Batch(x[:300], y[:300])
    grads = run_rule("targetprop", net, params, batch, state=state, inverse_loss="l-drl").grads
    expected = autograd_grads(net, params, batch)
    for name in ("1.weight", "2.weight"):
        assert cosine_similarity(grads[name].flatten(), expected[name].flatten(), 0) > 0.9


@pytest.mark.parametrize("target_step", [1e-3, 1e-6])
def test_with_leaky_relu_and_the_transpose_for_inverse_it_is_backprop(target_step: float) -> None:
    """V_l f(v) has the slope W_l^T D_l while no activity changes sign, as f keeps signs."""
    net = make_network((9, 12, 7, 4), "leaky_relu(0.1)", "cross_entropy")
    params = net.init(Stream(0))
    batch = random_batch(net, 6, 0)
    aux = {f"{l}.weight": params[f"{l}.weight"].T for l in (2, 3)}
    aux |= {f"{l}.bias": torch.zeros(n, dtype=torch.float64) for l, n in ((2, 12), (3, 7))}
    options = {"inverse_loss": "l-drl", "target_step": target_step}
    grads = run_rule("targetprop", net, params, batch, state=State(aux, {}), **options).grads
    for name, expected in autograd_grads(net, params, batch).items():
        assert rel(grads[name], expected) <= EXACT / target_step
