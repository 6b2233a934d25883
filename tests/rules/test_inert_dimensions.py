"""No search space holds what the optimizer cancels, and what is said to be cancelled is."""

from __future__ import annotations

import pytest
import torch

from bioplaus.learning.batching import Rule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import State
from bioplaus.learning.search_space import Around
from bioplaus.network.layer import Params
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.testing.cases import Case
from bioplaus.testing.networks import NETWORKS
from tests.helpers.networks import get_rule, make_network, random_batch, random_params, rel

CANCELLED = 1e-10
"""1 - cosine of what differs by a factor; rounding leaves some 1e-16."""
ADAM, SGD = OptimizerSpec(name="adam"), OptimizerSpec(name="sgd")


def ends(rule: Rule, option: str) -> tuple[Params, Params]:
    """All that an update is, with the option at either end of its range."""
    dimension, default = rule.search_space[option], getattr(rule.config, option)
    span = dimension.of(default) if isinstance(dimension, Around) else dimension
    name, net = next((n, net) for n, net in NETWORKS.items() if rule.supports(net) is None)

    def update(u: float) -> Params:
        options: dict[str, object] = {option: span.at(u)}
        case = Case(type(rule), name, net, options)
        params, state, batch, noise = case.inputs(0)
        if case.rule.refresh_every:
            state = case.rule.refresh(net, params, state, batch, Stream(0))
        found = case.update((params, state, batch, noise))
        memory = {f"memory {n}": t for n, t in found.memory.items()}
        return found.total | {f"aux {n}": t for n, t in found.aux_grads.items()} | memory

    return update(0.0), update(0.999)


def turned(low: Params, high: Params) -> float:
    """The largest 1 - cosine of any tensor."""
    cosines = [
        torch.cosine_similarity(low[n].flatten(), high[n].flatten(), 0)
        for n in low
        if low[n].any() or high[n].any()
    ]
    return 1 - float(min(cosines))


def options_searched() -> list[tuple[str, str]]:
    return [
        (name, option)
        for name in registry.names("rule")
        for option in get_rule(name).search_space
        if "." not in option and getattr(get_rule(name).config, option)
    ]


@pytest.mark.parametrize(("name", "option"), options_searched())
def test_what_is_searched_is_not_cancelled_and_what_is_left_out_is(name: str, option: str) -> None:
    rule = get_rule(name)
    low, high = ends(rule, option)
    assert option in rule.search_space_under(SGD)
    assert max(rel(low[n], high[n]) for n in low if high[n].any()) > 1e-6
    assert (option in rule.search_space_under(ADAM)) == (turned(low, high) > CANCELLED)


@pytest.mark.parametrize("name", ["feedback-alignment", "direct-feedback-alignment"])
@pytest.mark.parametrize(("optimizer", "same"), [(ADAM, True), (SGD, False)])
def test_adam_trains_alike_whatever_the_feedbacks_gain(
    name: str, optimizer: OptimizerSpec, same: bool
) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    ended = []
    for gain in (0.2, 5.0):
        rule = get_rule(name, feedback_gain=gain)
        case = Case(type(rule), "here", net, {"feedback_gain": gain})
        params, state, _, _ = case.inputs(0)
        params = random_params(net, 0)
        steps = optimizer.updated({"eps": 1e-30} if same else {}).build(params.values(), False)
        for step in range(5):
            update = rule.update(
                net, params, State({}, state.memory), random_batch(net, 8, step), {}
            )
            for n, grad in update.grads.items():
                params[n].grad = grad
            steps.step()
        ended.append(params["1.weight"])
    assert (rel(*ended) < 1e-9) == same


def test_tuning_under_adam_leaves_out_the_gain() -> None:
    assert set(get_rule("feedback-alignment").search_space_under(ADAM)) == {"optimizer.lr"}
    moving = get_rule("predictive-coding")
    assert "step_size" in moving.search_space_under(ADAM)
    fixed = get_rule("predictive-coding", fixed_prediction=True)
    assert "step_size" not in fixed.search_space_under(ADAM)
