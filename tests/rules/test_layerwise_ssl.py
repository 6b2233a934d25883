"""Layer-wise self-supervision: local gradients, feedback that is kept, and whose turn it is."""

from __future__ import annotations

import pytest
import torch

from bioplaus.errors import UnsupportedError
from bioplaus.experiments.experiment import configure
from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.task import read_task
from tests.helpers.networks import EXACT, every_seed, get_rule, rel, worst
from tests.helpers.two_views import pairs, views_net

DEEP = views_net()
"""12-16-14-[8]: heads on both hidden layers, the upper one the network's own."""


def local_objective(net: Network, params: Params, heads: Params, x: torch.Tensor) -> torch.Tensor:
    """The sum of every layer's own loss, with inputs detached; the loss blocks the first view."""
    h, total = x, torch.zeros((), dtype=torch.float64)
    for l in range(2):
        h = net.step(params, l, h.detach()).output
        z = net.step(params, 2, h).output if l == 1 else h @ heads["head.1"].T
        total = total + net.loss.value(z, torch.zeros_like(z))
    return total


@every_seed
def test_t_ssl_3_transposed_feedback_is_the_gradient_of_the_local_losses(seed: int) -> None:
    rule, batch = get_rule("layerwise-ssl"), pairs(seed)
    params = DEEP.init(Stream(seed))
    state = rule.init_state(DEEP, params, Stream(seed))
    assert set(state.aux) == {"head.1"} and not state.memory
    update = rule.update(DEEP, params, state, batch, {})
    leaves = {n: t.clone().requires_grad_() for n, t in {**params, **state.aux}.items()}
    own = {n: leaves[n] for n in params}
    value = local_objective(DEEP, own, {"head.1": leaves["head.1"]}, batch.x)
    due = dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))
    assert worst({**update.grads, **update.aux_grads}, due) <= EXACT


@every_seed
@pytest.mark.parametrize("feedback", ["fixed", "updated"])
def test_random_feedback_carries_the_heads_error(feedback: str, seed: int) -> None:
    """Hidden layers as by hand from B; heads and the top as under transposed feedback."""
    rule, batch = get_rule("layerwise-ssl", feedback=feedback), pairs(seed)
    params = DEEP.init(Stream(seed))
    state = rule.init_state(DEEP, params, Stream(seed))
    kept = state.memory if feedback == "fixed" else state.aux
    update = rule.update(DEEP, params, state, batch, {})
    trace = DEEP.forward(params, batch.x)
    for l, head in ((0, state.aux["head.1"]), (1, params["3.weight"])):
        h, feed = trace[l].output, kept[f"feedback.{l + 1}"]
        assert not torch.equal(head, feed) and head.shape == feed.shape
        eps = DEEP.loss.error(h @ head.T, batch.y)
        d = (1 - h**2) * (eps @ feed)
        due = {"weight": d.T @ trace[l].input / len(h), "bias": d.mean(0)}
        assert worst(DEEP.at(update.grads, l), due) <= EXACT
    assert rel(update.grads["3.weight"], eps.T @ h / len(h)) <= EXACT


@every_seed
def test_t_ssl_4_updated_feedback_keeps_its_distance_from_the_head(seed: int) -> None:
    rule, params = get_rule("layerwise-ssl", feedback="updated"), DEEP.init(Stream(seed))
    state = rule.init_state(DEEP, params, Stream(seed))
    aux = dict(state.aux)

    def apart() -> Params:
        return {"1": aux["head.1"] - aux["feedback.1"], "2": params["3.weight"] - aux["feedback.2"]}

    start, first = apart(), params["3.weight"]
    for step in range(200):
        update = rule.update(DEEP, params, State(aux, {}), pairs(1000 * seed + step), {})
        params = {n: p - 0.01 * update.grads[n] for n, p in params.items()}
        aux = {n: p - 0.01 * update.aux_grads[n] for n, p in aux.items()}
    assert worst(apart(), start) <= EXACT
    assert worst({"2": params["3.weight"]}, {"2": first}) > 1e-3, "it has learned"


def moved(net: Network, update_grads: Params) -> list[bool]:
    return [any(bool(t.any()) for t in net.at(update_grads, l).values()) for l in range(net.depth)]


def test_greedy_goes_up_layer_by_layer_and_stays_at_the_top() -> None:
    rule = get_rule("layerwise-ssl", schedule="greedy", steps_per_layer=2, feedback="updated")
    params = DEEP.init(Stream(0))
    state, all_steps = rule.init_state(DEEP, params, Stream(0)), []
    whole = get_rule("layerwise-ssl", feedback="updated")
    for step in range(6):
        update = rule.update(DEEP, params, state, pairs(step), {})
        all_steps.append(moved(DEEP, update.grads))
        full = whole.update(DEEP, params, State(state.aux, {}), pairs(step), {})
        turn = 0 if step < 2 else 1
        for l in (0, 1):
            own, due = DEEP.at(update.grads, l), DEEP.at(full.grads, l)
            factor = float(l == turn)
            assert all(torch.equal(own[n], factor * due[n]) for n in own)
        assert bool(update.aux_grads["head.1"].any()) == (turn == 0)
        assert bool(update.aux_grads["feedback.2"].any()) == (turn == 1)
        state = State(state.aux, update.memory)
    assert all_steps == [[True, False, False]] * 2 + [[False, True, True]] * 4


def test_a_random_turn_is_each_layers_as_often() -> None:
    rule = get_rule("layerwise-ssl", schedule="random")
    assert rule.optimizer is not None and rule.optimizer.name == "sgd"
    params = DEEP.init(Stream(0))
    state = rule.init_state(DEEP, params, Stream(0))
    for u, due in ((0.01, [True, False, False]), (0.49, [True, False, False]),
                   (0.51, [False, True, True]), (0.999, [False, True, True])):  # fmt: skip
        noise = {"turn": torch.tensor(u, dtype=torch.float64)}
        assert moved(DEEP, rule.update(DEEP, params, state, pairs(0), noise).grads) == due


def test_it_is_for_two_views() -> None:
    with pytest.raises(UnsupportedError, match="it learns from two views"):
        configure("layerwise-ssl", read_task("digits-mlp"), {})
    assert configure("layerwise-ssl", read_task("digits-views"), {}).optimizer.name == "adam"
