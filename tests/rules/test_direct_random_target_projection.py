"""Direct random target projection: the label in the place of the error, by hand and by autograd."""

from __future__ import annotations

import math

import pytest
import torch

from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    get_rule,
    make_convolutional,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)

NAME = "direct-random-target-projection"


@pytest.mark.parametrize("seed", SEEDS)
def test_hidden_layers_learn_from_the_label_as_in_the_equations(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    state = get_rule(NAME).init_state(net, params, Stream(seed).at("state"))
    h = [batch.x]
    for l in (1, 2, 3):
        a = h[-1] @ params[f"{l}.weight"].T + params[f"{l}.bias"]
        h.append(a if l == 3 else torch.tanh(a))
    expected = {}
    for l in (1, 2, 3):
        if l == 3:
            d = torch.softmax(h[3], 1) - batch.y
        else:
            d = (1 - h[l] ** 2) * (batch.y @ state.memory[f"{l}.projection"].T)
        expected[f"{l}.weight"], expected[f"{l}.bias"] = d.T @ h[l - 1] / 8, d.mean(0)
    grads = run_rule(NAME, net, params, batch, state=state).grads
    assert worst(grads, expected) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_the_gradient_of_the_projected_labels_overlap_with_each_layer(seed: int) -> None:
    """<(B_l t) . h_l> with the layers below held: autograd, through a convolution too."""
    net = make_convolutional("tanh")
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    state = get_rule(NAME).init_state(net, params, Stream(seed).at("state"))
    grads = run_rule(NAME, net, params, batch, state=state).grads
    true = autograd_grads(net, params, batch)
    for l in (0, 2):
        leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
        below = net.forward(params, batch.x)[l].input
        h = net.step(leaves, l, below).output.flatten(1)
        overlap = ((batch.y @ state.memory[f"{l + 1}.projection"].T) * h).sum(1).mean()
        names = [f"{l + 1}.weight", f"{l + 1}.bias"]
        for name, due in zip(
            names, torch.autograd.grad(overlap, [leaves[n] for n in names]), strict=True
        ):
            assert rel(grads[name], due) <= EXACT
    for name in ("5.weight", "5.bias"):
        assert rel(grads[name], true[name]) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hidden_layers_update_does_not_know_what_is_above(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "sigmoid", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    before = run_rule(NAME, net, params, batch, seed).grads
    other = params | {k: v + 1 for k, v in params.items() if not k.startswith("1.")}
    after = run_rule(NAME, net, other, batch, seed).grads
    assert all(torch.equal(after[k], before[k]) for k in ("1.weight", "1.bias"))
    assert all(rel(after[k], before[k]) > 0.01 for k in before if not k.startswith("1."))


@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_projections_are_drawn_as_in_the_authors_code(gain: float) -> None:
    """torch's kaiming_uniform_ of a (C, n_l) tensor: bound sqrt(6 / n_l), variance 2 / n_l."""
    net = make_network((40, 300, 200), "tanh", "mse")
    rule = get_rule(NAME, feedback_gain=gain)
    drawn = rule.init_state(net, random_params(net, 0), Stream(0)).memory["1.projection"]
    assert drawn.shape == (300, 200)
    bound = gain * math.sqrt(6 / 300)
    assert float(drawn.abs().max()) <= bound
    assert float(drawn.std()) == pytest.approx(bound / math.sqrt(3), rel=0.01)


def test_it_refuses_hidden_units_without_bounds() -> None:
    rule = get_rule(NAME)
    assert "layer 1: relu has no bounds" in (rule.supports(make_network((4, 4, 4), "relu")) or "")
    assert rule.supports(make_network((4, 4, 4), "tanh", "cross_entropy")) is None
    assert rule.supports(make_network((4, 4), "relu")) is None
