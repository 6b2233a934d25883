"""Direct feedback alignment: where it is feedback alignment, where backprop."""

from __future__ import annotations

import pytest
import torch

from bioplaus.learning.rule import State
from bioplaus.numerics.random_streams import Stream
from tests.helpers.feedback import every_seed
from tests.helpers.networks import (
    EXACT,
    autograd_grads,
    chain,
    get_rule,
    make_network,
    random_batch,
    random_params,
    run_rule,
    worst,
)


@every_seed
@pytest.mark.parametrize(("activation", "loss"), [("tanh", "mse"), ("sigmoid", "cross_entropy")])
def test_t_fa_2_is_feedback_alignment_below_one_hidden_layer(
    activation: str, loss: str, seed: int
) -> None:
    net = make_network((9, 12, 5), activation, loss)
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    chained = get_rule("feedback-alignment").init_state(net, params, Stream(seed))
    direct = State({}, {"1.feedback": chained.memory["2.weight"].T})
    assert (
        worst(
            run_rule("direct-feedback-alignment", net, params, batch, state=direct).grads,
            run_rule("feedback-alignment", net, params, batch, state=chained).grads,
        )
        <= EXACT
    )


@every_seed
def test_t_fa_3_is_backprop_in_a_linear_network_with_the_chain_of_transposes(seed: int) -> None:
    net = make_network((9, 12, 7, 5, 4), "identity", "mse")
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 8, seed)
    above = {l: [params[f"{k}.weight"] for k in range(l + 1, 5)] for l in (1, 2, 3)}
    state = State({}, {f"{l}.feedback": chain(weights).T for l, weights in above.items()})
    drawn = get_rule("direct-feedback-alignment").init_state(net, params, Stream(seed)).memory
    assert {k: v.shape for k, v in drawn.items()} == {k: v.shape for k, v in state.memory.items()}
    grads = run_rule("direct-feedback-alignment", net, params, batch, state=state).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@every_seed
def test_direct_feedback_carries_the_outputs_delta_past_the_layers_between(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    state = get_rule("direct-feedback-alignment").init_state(net, params, Stream(seed))
    h = [batch.x]
    for l in (1, 2, 3):
        h.append(torch.tanh(h[-1] @ params[f"{l}.weight"].T + params[f"{l}.bias"]))
    top = (1 - h[3] ** 2) * (h[3] - batch.y)
    expected = {}
    for l in (1, 2, 3):
        d = top if l == 3 else (1 - h[l] ** 2) * (top @ state.memory[f"{l}.feedback"].T)
        expected |= {f"{l}.weight": d.T @ h[l - 1] / len(d), f"{l}.bias": d.mean(0)}
    grads = run_rule("direct-feedback-alignment", net, params, batch, state=state).grads
    assert worst(grads, expected) <= EXACT
