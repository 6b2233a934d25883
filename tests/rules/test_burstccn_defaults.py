"""BurstCCN's defaults: the authors' rate in our units, feedback of a width's scale, its modes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import State
from bioplaus.network.layer import Init
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    get_rule,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)

P0 = 0.5


@pytest.mark.parametrize("seed", SEEDS[:5])
def test_the_authors_step_at_their_rate_is_ours_at_half_of_it(seed: int) -> None:
    """Their program in few lines: updates -0.3 <(p0 e - b) e^T>, with no division by p0."""
    net = make_network((9, 12, 7, 4), "sigmoid", "mse")
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 8, seed)
    rule = get_rule("burstccn")
    state = rule.init_state(net, params, Stream(seed))
    update = rule.update(net, params, state, batch, {})
    e = [batch.x]
    for l in (1, 2, 3):
        e.append(torch.sigmoid(e[-1] @ params[f"{l}.weight"].T + params[f"{l}.bias"]))
    bursts = P0 * ((batch.y - e[3]) * (1 - e[3]) + 1) * e[3]
    for l in (3, 2, 1):
        delta = -(bursts - P0 * e[l])
        step = -0.3 * delta.T @ e[l - 1] / 8
        assert rel(-0.15 * update.grads[f"{l}.weight"], step) <= EXACT
        if l > 1:
            y, q = state.memory[f"{l}.burst"], -state.aux[f"{l}.event"]
            apical = bursts @ y + e[l] @ q
            bursts = torch.sigmoid(4 * apical * (1 - e[l - 1])) * e[l - 1]


@pytest.mark.parametrize("width", [40, 160])
def test_random_feedback_is_of_the_forward_weights_scale_at_any_width(width: int) -> None:
    """As strong as W^T of a network that starts with the same gain: depth changes nothing."""
    net = make_network((width,) * 10 + (10,), "sigmoid", "mse")
    net = replace(net, initial=Init("xavier_normal", 3.6))
    params, batch = net.init(Stream(0)), random_batch(net, 8, 0)
    grads = run_rule("burstccn", net, params, batch).grads
    reference = run_rule("backprop", net, params, batch).grads
    ratio = float(grads["1.weight"].norm() / reference["1.weight"].norm())
    assert 0.1 < ratio < 10
    rule = get_rule("burstccn", burst_gain=2.0)
    burst = rule.init_state(net, params, Stream(0)).memory["2.burst"]
    assert rel(burst.std(), torch.tensor(2 / width**0.5).double()) < 0.05


def test_tied_bursts_have_matched_events_unless_refused() -> None:
    net = make_network((9, 12, 7, 4), "sigmoid", "mse")
    params, batch = random_params(net, 0), random_batch(net, 8, 0)
    tied = get_rule("burstccn", burst_feedback="tied")
    assert tied.supports(net) is None and tied.aux_optimizer is None
    grads = run_rule("burstccn", net, params, batch, burst_feedback="tied").grads
    options: dict[str, object] = {"burst_feedback": "tied", "event_feedback": "matched"}
    assert worst(grads, run_rule("burstccn", net, params, batch, **options).grads) == 0
    learned = get_rule("burstccn", burst_feedback="tied", event_feedback="learned")
    assert "event_feedback=matched" in (learned.supports(net) or "")


@pytest.mark.parametrize("seed", SEEDS[:5])
def test_by_default_kolen_pollack_decays_what_bursts_differ_from_the_weights(seed: int) -> None:
    """By 1 - lr decay at each step, and events stay p0 times bursts."""
    net = make_network((9, 12, 7, 4), "sigmoid", "mse")
    params = random_params(net, seed, scheme="gaussian")
    rule = get_rule("burstccn", burst_feedback="kolen-pollack")
    spec = rule.optimizer
    assert isinstance(spec, OptimizerSpec) and spec.weight_decay and rule.aux_optimizer == "same"
    state = rule.init_state(net, params, Stream(seed))
    aux = {name: tensor.clone() for name, tensor in state.aux.items()}

    def difference() -> dict[str, Tensor]:
        return {str(l): params[f"{l}.weight"] - aux[f"{l}.burst"] for l in (2, 3)}

    start, steps = difference(), 20
    both = params | aux
    optimizer = spec.build(both.values(), fused=False)
    for step in range(steps):
        update = rule.update(net, params, State(aux, {}), random_batch(net, 8, step), {})
        assert "feedback_alignment" in update.metrics
        for name, grad in (update.grads | update.aux_grads).items():
            both[name].grad = grad
        optimizer.step()
    left = (1 - spec.lr * spec.weight_decay) ** steps
    for name, before in start.items():
        assert rel(difference()[name], left * before) <= EXACT
        assert rel(aux[f"{name}.event"], P0 * aux[f"{name}.burst"]) <= EXACT


def test_the_feedbacks_alignment_is_that_of_bursts_with_weights() -> None:
    net = make_network((9, 12, 7, 4), "sigmoid", "mse")
    params, batch = random_params(net, 0), random_batch(net, 8, 0)
    copied = run_rule("burstccn", net, params, batch, burst_feedback="symmetric-init")
    assert float(copied.metrics["feedback_alignment"]) == pytest.approx(1, abs=1e-14)
    assert abs(float(run_rule("burstccn", net, params, batch).metrics["feedback_alignment"])) < 0.5
