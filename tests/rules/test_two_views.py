"""Rules on two views untouched: what equals backprop does so where a loss couples examples."""

from __future__ import annotations

from typing import Any

import pytest

from bioplaus.learning.rule import State
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from tests.helpers.networks import EXACT, autograd_grads, every_seed, rel, run_rule, worst
from tests.helpers.two_views import pairs, views_net

STEPS = 3
"""L: as many as errors need to come down to the first layer."""


@every_seed
@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("backprop", {}),
        ("z-il", {}),
        ("predictive-coding-fixed", {"step_size": 1.0, "steps": STEPS}),
        ("activation-relaxation", {"step_size": 1.0, "steps": STEPS}),
    ],
)
def test_t_ssl_2_rules_that_equal_backprop_do_so_here(
    rule: str, options: dict[str, Any], block: bool, seed: int
) -> None:
    net, batch = views_net(block), pairs(seed)
    params = net.init(Stream(seed))
    grads = run_rule(rule, net, params, batch, **options).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@every_seed
def test_t_ssl_2_feedback_alignment_with_the_forward_weights(seed: int) -> None:
    net, batch = views_net(), pairs(seed)
    params = net.init(Stream(seed))
    rule = registry.load("rule", "feedback-alignment").configured({})
    state = rule.init_state(net, params, Stream(seed))
    same = State(state.aux, {name: params[name] for name in state.memory})
    grads = rule.update(net, params, same, batch, {}).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@every_seed
def test_perturbation_finds_the_slope_of_its_shares(seed: int) -> None:
    """Each row's own share of the loss is what node perturbation is told."""
    net, batch = views_net(block=False), pairs(seed)
    params = net.init(Stream(seed))
    output = net.output(params, batch.x)
    shares = net.loss.each(output, batch.y)
    assert rel(shares.mean(), net.mean_loss(params, batch.x, batch.y)) <= EXACT
