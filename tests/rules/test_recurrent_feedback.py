"""Feedback along recurrent weights: whose errors go back in time, and who refuses to."""

from __future__ import annotations

import pytest

from bioplaus.learning.rule import State
from bioplaus.network.neuron import Neuron
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import every_seed, get_rule, run_rule, worst
from tests.helpers.spiking import grads_step_by_step, image_batch, lively_params, spiking_network

NET = spiking_network((8, 12, 9, 4), Neuron(0.8), 8, delay=0, recurrent=True)


@every_seed
def test_feedback_that_is_the_transpose_is_backprop(seed: int) -> None:
    params, batch = lively_params(NET, seed), image_batch(NET, 3, seed)
    mirrored = {"2.recurrent", "3.weight", "3.recurrent", "4.weight"}
    drawn = get_rule("feedback-alignment").init_state(NET, params, Stream(seed)).memory
    assert drawn.keys() == mirrored
    true = run_rule("backprop", NET, params, batch).grads
    own = State({}, {name: params[name] for name in mirrored})
    grads = run_rule("feedback-alignment", NET, params, batch, state=own).grads
    assert all(grad.equal(true[name]) for name, grad in grads.items())


@every_seed
def test_no_feedback_along_time_is_the_gradient_of_spikes_felt_as_given(seed: int) -> None:
    params, batch = lively_params(NET, seed), image_batch(NET, 3, seed)
    memory = {n: params[n] for n in ("3.weight", "4.weight")}
    memory |= {n: 0 * params[n] for n in ("2.recurrent", "3.recurrent")}
    own = State({}, memory)
    grads = run_rule("feedback-alignment", NET, params, batch, state=own).grads
    assert worst(grads, grads_step_by_step(NET, params, batch, cut=True)) <= 1e-10
    assert worst(grads, grads_step_by_step(NET, params, batch)) > 1e-3


@every_seed
def test_sign_symmetric_feedback_is_of_recurrent_weights_too(seed: int) -> None:
    """With weights that are their own signs' multiples it is backprop's direction."""
    params, batch = lively_params(NET, seed), image_batch(NET, 3, seed)
    for name in ("2.recurrent", "3.weight", "3.recurrent", "4.weight"):
        scale = (2 / sum(params[name].shape)) ** 0.5
        params[name] = scale * params[name].sign()
    true = run_rule("backprop", NET, params, batch).grads
    assert worst(run_rule("sign-symmetry", NET, params, batch).grads, true) <= 1e-12


def test_kolen_pollack_learns_the_recurrent_feedback_too() -> None:
    params, batch = lively_params(NET, 0), image_batch(NET, 3, 0)
    update = run_rule("kolen-pollack", NET, params, batch)
    assert update.aux_grads.keys() == {"2.recurrent", "3.weight", "3.recurrent", "4.weight"}
    for name, grad in update.aux_grads.items():
        assert grad.equal(update.grads[name])


@pytest.mark.parametrize("rule", ["direct-feedback-alignment", "sal", "desire-backpropagation"])
def test_rules_without_a_way_along_them_say_so(rule: str) -> None:
    reason = get_rule(rule).supports(NET)
    assert reason is not None and reason.startswith("layer 2 has recurrent weights")
