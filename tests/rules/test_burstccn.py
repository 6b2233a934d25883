"""BurstCCN against backprop and feedback alignment, in the limit of small errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.learning.batching import Rule
from bioplaus.learning.layered_rule import LayeredRule
from bioplaus.learning.rule import Batch, State, Update
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
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
    rel,
    worst,
)

WIDTHS = (9, 14, 11, 7, 5)
P0 = 0.5


def setting(seed: int) -> tuple[Network, Params, Batch]:
    net = make_network(WIDTHS, "sigmoid", "mse")
    return net, random_params(net, seed, scheme="gaussian"), random_batch(net, 8, seed)


def with_error_scaled(net: Network, params: Params, batch: Batch, s: float) -> Batch:
    output = net.output(params, batch.x)
    return Batch(batch.x, output + s * (batch.y - output))


def deltas_of(rule: Rule, net: Network, params: Params, state: State, batch: Batch) -> list[Tensor]:
    assert isinstance(rule, LayeredRule)
    return rule.deltas(forward_pass(net, params, batch, state))


def feedback_deltas(
    net: Network, params: Params, batch: Batch, feedback: list[Tensor]
) -> list[Tensor]:
    """d_L = D_L (e_L - t), d_l = D_l Y_l^T d_{l+1}; feedback holds Y_1 .. Y_{L-1}."""
    e = [batch.x]
    for l in range(1, net.depth + 1):
        e.append(torch.sigmoid(e[-1] @ params[f"{l}.weight"].T + params[f"{l}.bias"]))
    deltas = [e[-1] * (1 - e[-1]) * (e[-1] - batch.y)]
    for l in range(net.depth - 1, 0, -1):
        deltas.insert(0, e[l] * (1 - e[l]) * (deltas[0] @ feedback[l - 1]))
    return deltas


def limit_errors(mode: str, curve: str, seed: int, s: float) -> list[float]:
    """Per layer, how far d_l / s is from the small-error limit."""
    net, params, batch = setting(seed)
    rule = get_rule("burstccn", burst_feedback=mode, event_feedback="matched", burst_curve=curve)
    state = rule.init_state(net, params, Stream(seed).at("state"))
    if mode == "tied":
        feedback = [params[f"{l}.weight"] for l in range(2, net.depth + 1)]
    else:
        feedback = [state.memory[f"{l}.burst"] for l in range(2, net.depth + 1)]
    scaled = with_error_scaled(net, params, batch, s)
    ours = deltas_of(rule, net, params, state, scaled)
    expected = feedback_deltas(net, params, batch, feedback)
    return [rel(d / s, limit) for d, limit in zip(ours, expected, strict=True)]


def check_second_order(mode: str, seed: int) -> None:
    errors = {s: limit_errors(mode, "sigmoid", seed, s) for s in (0.1, 0.01, 0.001)}
    for l in range(len(WIDTHS) - 2):
        for s in (0.1, 0.01):
            assert 95 <= errors[s][l] / errors[s / 10][l] <= 105
    assert all(errors[s][-1] <= 1e-13 / s for s in errors)


@pytest.mark.parametrize("seed", SEEDS)
def test_t_bcn_1_tied_feedback_tends_to_backprop(seed: int) -> None:
    check_second_order("tied", seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("s", [1.0, 0.1, 0.01])
def test_t_bcn_2_linear_bursts_with_tied_feedback_are_backprop(s: float, seed: int) -> None:
    assert max(limit_errors("tied", "linear", seed, s)) <= 1e-12 / s


@pytest.mark.parametrize("seed", SEEDS)
def test_t_bcn_3_random_feedback_tends_to_feedback_alignment(seed: int) -> None:
    check_second_order("random", seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("s", [1.0, 0.1, 0.01])
def test_t_bcn_3_linear_bursts_with_random_feedback_are_feedback_alignment(
    s: float, seed: int
) -> None:
    assert max(limit_errors("random", "linear", seed, s)) <= 1e-12 / s


def untaught(net: Network, params: Params, batch: Batch) -> Batch:
    return Batch(batch.x, net.output(params, batch.x))


def update_with_events(
    seed: int, calibrated: range
) -> tuple[Network, Params, Batch, State, Update]:
    """One update without a teacher, Q_l = p0 Y_l in the calibrated layers only (from 1)."""
    net, params, batch = setting(seed)
    batch = untaught(net, params, batch)
    rule = get_rule("burstccn")
    state = rule.init_state(net, params, Stream(seed).at("state"))
    events = {
        f"{l + 1}.event": P0 * state.memory[f"{l + 1}.burst"]
        + (0 if l in calibrated else 0.3)
        * Stream(seed).at("test events", l).normal(params[f"{l + 1}.weight"].shape)
        for l in range(1, net.depth)
    }
    state = State(aux=events, memory=state.memory)
    return net, params, batch, state, rule.update(net, params, state, batch, {})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("l", range(1, len(WIDTHS) - 1))
def test_t_bcn_4_learned_events_cancel_the_potential(l: int, seed: int) -> None:
    lr = 0.1
    calibrated = range(l + 1, len(WIDTHS) - 1)
    net, params, batch, state, update = update_with_events(seed, calibrated)
    name = f"{l + 1}.event"
    before = P0 * state.memory[f"{l + 1}.burst"] - state.aux[name]
    after = P0 * state.memory[f"{l + 1}.burst"] - (state.aux[name] - lr * update.aux_grads[name])
    e = net.forward(params, batch.x)[l].output
    step = torch.eye(e.shape[1], dtype=e.dtype) - lr * (e.T @ e) / len(e)
    assert rel(after, step @ before) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mode", ["random", "symmetric-init", "tied", "kolen-pollack"])
def test_t_bcn_4_without_a_teacher_matched_feedback_teaches_nothing(mode: str, seed: int) -> None:
    net, params, batch = setting(seed)
    rule = get_rule("burstccn", burst_feedback=mode, event_feedback="matched")
    state = rule.init_state(net, params, Stream(seed).at("state"))
    for delta in deltas_of(rule, net, params, state, untaught(net, params, batch)):
        assert float(delta.abs().max()) <= 1e-14


@pytest.mark.parametrize("seed", SEEDS)
def test_burstccn_follows_its_bursts_written_out(seed: int) -> None:
    """d_l = -(b_l - p0 e_l) / p0 with every burst probability spelt out, p0 not 1/2."""
    p0 = 0.3
    net, params, batch = setting(seed)
    rule = get_rule("burstccn", baseline=p0)
    state = rule.init_state(net, params, Stream(seed).at("state"))
    events = {name: t + 0.1 for name, t in state.aux.items()}
    trace = net.forward(params, batch.x)
    e = [step.output for step in trace]
    p = p0 * ((batch.y - e[-1]) * (1 - e[-1]) + 1)
    expected = [-(p * e[-1] - p0 * e[-1]) / p0]
    for l in range(net.depth - 1, 0, -1):
        y, q = state.memory[f"{l + 1}.burst"], events[f"{l + 1}.event"]
        u = (p * e[l]) @ y - e[l] @ q
        p = 2 * p0 * torch.sigmoid(2 / p0 * u * (1 - e[l - 1]))
        expected.insert(0, -(p * e[l - 1] - p0 * e[l - 1]) / p0)
    ours = deltas_of(rule, net, params, State(events, state.memory), batch)
    assert max(rel(a, b) for a, b in zip(ours, expected, strict=True)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_burstccn_kolen_pollack_learns_feedback_by_the_same_products(seed: int) -> None:
    net, params, batch = setting(seed)
    rule = get_rule("burstccn", burst_feedback="kolen-pollack")
    assert rule.aux_optimizer == "same"
    state = rule.init_state(net, params, Stream(seed).at("state"))
    update = rule.update(net, params, state, batch, {})
    kinds = ("burst", "event")
    due = {f"{l}.{kind}" for l in range(2, net.depth + 1) for kind in kinds}
    assert state.aux.keys() == update.aux_grads.keys() == due
    for name, grad in update.aux_grads.items():
        scale = 1 if name.endswith("burst") else P0
        number = name.split(".")[0]
        assert torch.equal(grad, scale * update.grads[f"{number}.weight"])
    moved = {name: tensor - 0.1 * update.aux_grads[name] for name, tensor in state.aux.items()}
    for l in range(2, net.depth + 1):
        assert rel(moved[f"{l}.event"], P0 * moved[f"{l}.burst"]) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_burstccn_potentials_cross_convolutions_and_pooling(seed: int) -> None:
    net = make_convolutional("sigmoid", "mse")
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 8, seed)
    rule = get_rule(
        "burstccn", burst_feedback="tied", event_feedback="matched", burst_curve="linear"
    )
    assert rule.supports(net) is None
    state = rule.init_state(net, params, Stream(seed))
    grads = rule.update(net, params, state, batch, {}).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


def test_burstccn_refuses_what_it_is_not_defined_for() -> None:
    rule = get_rule("burstccn")
    assert "cross_entropy" in (rule.supports(make_network((4, 4), loss="cross_entropy")) or "")
    assert "tanh" in (rule.supports(make_network((4, 4, 4), "tanh")) or "")
