"""Dendritic microcircuits: the published dynamics, integrated, and the limit of weak nudging."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    SEEDS,
    autograd_grads,
    draw,
    get_rule,
    make_convolutional,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
)

NAME = "dendritic-microcircuit"

G_LEAK, G_BASAL, G_APICAL, G_INTER, G_SOMA = 0.1, 1.0, 0.8, 1.0, 0.3


def squared_error() -> Network:
    """9-6-5-4, tanh and a linear top."""
    net = make_network((9, 6, 5, 4), "tanh", "cross_entropy")
    return type(net)(net.layers, make_network((4, 4), "tanh", "mse").loss, net.classes)


def settled(
    w: list[Tensor], up: list[Tensor], down: list[Tensor], x: Tensor, target: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Potentials of pyramidal neurons and interneurons after a long time, one example a row.

    Equations 1 and 2 with conductances, by Euler's method; w, up and down are the published
    basal, pyramidal-to-interneuron and top-down weights, and interneurons get -down.
    """
    u = [x.new_zeros((len(x), len(weight))) for weight in w]
    i = [x.new_zeros((len(x), len(weight))) for weight in up]
    for _ in range(1500):
        r = [x, *(torch.tanh(potential) for potential in u[:-1])]
        # the top's neurons speak to apical dendrites by their rate, which is linear
        top = [torch.tanh(u[1]), u[2]]
        inter = [torch.tanh(i[0]), i[1]]
        moved = []
        for l in range(3):
            basal = r[l] @ w[l].T
            change = -G_LEAK * u[l] + G_BASAL * (basal - u[l])
            if l < 2:
                apical = (top[l] - inter[l]) @ down[l].T
                change = change + G_APICAL * (apical - u[l])
            else:
                change = change + G_SOMA * (target - u[l])
            moved.append(change)
        for k in range(2):
            dendrite = r[k + 1] @ up[k].T
            i[k] = i[k] + 0.2 * (
                -G_LEAK * i[k] + G_INTER * (dendrite - i[k]) + G_SOMA * (u[k + 1] - i[k])
            )
        u = [a + 0.2 * b for a, b in zip(u, moved, strict=True)]
    return u, i


@pytest.mark.parametrize("seed", range(3))
def test_updates_are_those_of_the_published_dynamics_at_rest(seed: int) -> None:
    """With any weights to the interneurons; no biases, which the paper has not."""
    net = squared_error()
    params, batch = random_params(net, seed), random_batch(net, 5, seed)
    params = {k: 0 * v if k.endswith("bias") else 0.7 * v for k, v in params.items()}
    total = G_LEAK + G_BASAL + G_APICAL
    nudge, apical = G_SOMA / (G_LEAK + G_BASAL + G_SOMA), G_APICAL / total
    rule = get_rule(NAME, nudge=nudge, apical=apical, sweeps=300, interneurons="learned")
    start = rule.init_state(net, params, Stream(seed))
    aux = {k: v + 0.1 * draw(seed, k, *v.shape) for k, v in start.aux.items()}
    aux |= {k: 0 * v for k, v in aux.items() if k.endswith("bias")}
    update = rule.update(net, params, State(aux, start.memory), batch, {})

    # a hidden soma passes g_B / g_total of its basal potential, the top g_B / (g_lk + g_B)
    passes = [G_BASAL / total] * 2 + [G_BASAL / (G_LEAK + G_BASAL)]
    inter = G_INTER / (G_LEAK + G_INTER)
    w = [params[f"{l}.weight"] / share for l, share in zip((1, 2, 3), passes, strict=True)]
    up = [aux["2.weight"] / inter, aux["3.weight"] / inter]
    down = [start.memory["2.weight"].T, start.memory["3.weight"].T]
    u, i = settled(w, up, down, batch.x, batch.y)
    r = [batch.x, torch.tanh(u[0]), torch.tanh(u[1])]
    for l in range(3):
        reach = nudge * (apical * (1 - nudge)) ** (2 - l)
        predicted = passes[l] * r[l] @ w[l].T
        change = u[l] - predicted if l == 2 else torch.tanh(u[l]) - torch.tanh(predicted)
        assert rel(update.grads[f"{l + 1}.weight"], -change.T @ r[l] / (5 * reach)) <= 1e-9
        if l == 0:
            continue
        predicted = inter * r[l] @ up[l - 1].T
        change = i[1] - predicted if l == 2 else torch.tanh(i[0]) - torch.tanh(predicted)
        due = -change.T @ r[l] / (5 * nudge * reach)
        assert rel(update.aux_grads[f"{l + 1}.weight"], due) <= 1e-9


def shares(far: Params, near: Params, limit: Params) -> list[float]:
    """How many times nearer to the limit the second is, for each tensor."""
    assert all(rel(far[name], due) < 0.1 for name, due in limit.items())
    return [rel(far[name], due) / rel(near[name], due) for name, due in limit.items()]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_it_tends_to_backprop_as_the_nudge_does_to_0(loss: str, seed: int) -> None:
    """In the self-predicting state, B = W^T: with the nudge's first power."""
    net = make_network((9, 12, 7, 4), "tanh", loss)
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    far, near = (
        run_rule(NAME, net, params, batch, feedback="transpose", nudge=nudge, sweeps=60).grads
        for nudge in (1e-3, 5e-4)
    )
    true = autograd_grads(net, params, batch)
    assert all(1.9 < share < 2.1 for share in shares(far, near, true))


@pytest.mark.parametrize("seed", SEEDS)
def test_with_random_weights_down_it_tends_to_feedback_alignment(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    rule = get_rule(NAME)
    state = rule.init_state(net, params, Stream(seed))
    alike = run_rule("feedback-alignment", net, params, batch, state=State({}, state.memory)).grads
    far, near = (
        run_rule(NAME, net, params, batch, state=state, nudge=nudge, sweeps=60).grads
        for nudge in (1e-3, 5e-4)
    )
    assert all(1.9 < share < 2.1 for share in shares(far, near, alike))


@pytest.mark.parametrize("seed", SEEDS)
def test_interneurons_learn_as_the_layer_they_predict(seed: int) -> None:
    """In the self-predicting state, to the first power of the nudge: so they stay in it."""
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    far, near = (
        run_rule(NAME, net, params, batch, seed, interneurons="learned", nudge=nudge, sweeps=60)
        for nudge in (1e-3, 5e-4)
    )
    names = [name for name in far.grads if not name.startswith("1.")]
    assert set(far.aux_grads) == set(names)
    for name in names:
        apart = [rel(update.aux_grads[name], update.grads[name]) for update in (far, near)]
        assert apart[0] < 1e-2
        # the top's interneurons and the top itself see the same difference
        assert 1.9 < apart[0] / apart[1] < 2.1 or name.startswith("3.")
    assert float(far.metrics["prediction"]) < 1e-12


def test_without_a_nudge_a_self_predicting_circuit_computes_the_forward_pass() -> None:
    net = make_network((9, 12, 7, 4), "tanh", "mse")
    params, batch = random_params(net, 0), random_batch(net, 8, 0)
    rule = get_rule(NAME)
    state = rule.init_state(net, params, Stream(0))
    output = net.output(params, batch.x)
    assert rel(rule.predict(net, params, state, batch.x), output) <= 1e-14
    right = rule.update(net, params, state, batch._replace(y=output), {})
    assert all(float(g.abs().max()) <= 1e-12 for g in right.grads.values())


def test_more_sweeps_come_nearer_to_rest() -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, 0), random_batch(net, 8, 0)
    left = [
        float(run_rule(NAME, net, params, batch, nudge=0.3, sweeps=n).metrics["residual"])
        for n in (1, 5, 100)
    ]
    assert left[0] > 3 * left[1] and left[2] < 1e-12


def test_layers_without_dendrites_are_refused() -> None:
    reason = get_rule(NAME).supports(make_convolutional("tanh"))
    assert reason is not None and "dendrites" in reason
