"""Desire backpropagation against loops over examples, steps and synapses.

With a decay of 3/4 and 20 steps all traces are multiples of 2^-40: sums are exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron
from tests.helpers.networks import every_seed, get_rule, rel, run_rule, single_examples, worst
from tests.helpers.spiking import image_batch, lively_params, spiking_network

RULE = "desire-backpropagation"
T, DECAY, MARGIN, OUT, HIDDEN = 20, 0.75, 4, 0.3, 0.05


def desirous(*widths: int) -> Network:
    return spiking_network(widths, Neuron(DECAY), T, bias=False)


def given(seed: int, net: Network, size: int) -> tuple[Params, Batch]:
    return lively_params(net, seed), image_batch(net, size, seed)


def of_one_example(
    weights: list[Tensor], x: Tensor, label: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Spikes (T, n_l) and changes of weights, gradient sign, as the equations stand: by loops."""
    charge = torch.zeros_like(x)
    potentials = [torch.zeros(len(w)).double() for w in weights]
    spikes = [torch.zeros(T, len(w)).double() for w in weights]
    traces = [torch.zeros(w.shape[1]).double() for w in weights]
    history: list[list[Tensor]] = [[] for _ in weights]
    for t in range(T):
        charge = charge + x
        first = (charge >= 1).double()
        charge = charge - first
        for l, w in enumerate(weights):
            h = (
                first
                if l == 0
                else (spikes[l - 1][t - 1] if t else torch.zeros(w.shape[1]).double())
            )
            traces[l] = DECAY * traces[l] + h
            history[l].append(traces[l])
            u = DECAY * potentials[l] + torch.stack([row @ h for row in w])
            spikes[l][t] = (u >= 1).double()
            potentials[l] = u - spikes[l][t]
    rates = [s.sum(0) / (T - MARGIN) for s in spikes]
    top = len(weights) - 1
    desire = torch.zeros(len(weights[top])).double()
    desire[label] = 1
    acts = torch.tensor(
        [bool((1 - r if k == label else r) > OUT) for k, r in enumerate(rates[top].tolist())]
    )
    changes: list[Tensor] = []
    for l in range(top, -1, -1):
        change = torch.zeros_like(weights[l])
        signs = [(1.0 if d else -1.0) if a else 0.0 for d, a in zip(desire, acts, strict=True)]
        for j, sign in enumerate(signs):
            for t in range(T):
                if spikes[l][t, j]:
                    change[j] -= sign * history[l][t]
        changes.insert(0, change)
        error = [abs(float(d - r)) * s for d, r, s in zip(desire, rates[l], signs, strict=True)]
        q = sum(e * row for e, row in zip(error, weights[l], strict=True))
        assert isinstance(q, Tensor)
        desire, acts = (q > 0).double(), q.abs() >= HIDDEN
    return spikes, changes


@every_seed
def test_it_is_the_loop_over_examples_steps_and_synapses(seed: int) -> None:
    net = desirous(12, 9, 7, 4)
    params, batch = given(seed, net, 3)
    weights = [params[f"{l}.weight"] for l in (2, 3, 4)]
    grads = run_rule(RULE, net, params, batch).grads
    trace = net.forward(params, batch.x)
    sums = [torch.zeros_like(w) for w in weights]
    for k, (x, y) in enumerate(zip(batch.x, batch.y, strict=True)):
        spikes, changes = of_one_example(weights, x, int(y.argmax()))
        for l, train in enumerate(spikes):
            assert trace[l + 1].output[k].equal(train)
        sums = [total + change for total, change in zip(sums, changes, strict=True)]
    mean = {f"{l + 2}.weight": total / 3 for l, total in enumerate(sums)}
    assert worst(grads, mean) <= 1e-12


@every_seed
def test_without_thresholds_what_comes_down_is_the_error_through_the_transpose(seed: int) -> None:
    net = desirous(12, 9, 7, 4)
    params, batch = given(seed, net, 5)
    trace = net.forward(params, batch.x)
    options = {"output_threshold": -1.0, "hidden_threshold": 0.0, "margin": 0}
    grads = run_rule(RULE, net, params, batch, **options).grads
    q = (batch.y - trace[3].output.mean(1)) @ params["4.weight"]
    sign = torch.where(q > 0, 1.0, -1.0).double()
    pre = torch.zeros(5, 9).double()
    wanted = torch.zeros(7, 9).double()
    for t in range(T):
        pre = DECAY * pre + (trace[1].output[:, t - 1] if t else 0)
        wanted -= torch.einsum("nj,ni->ji", trace[2].output[:, t] * sign, pre) / 5
    assert rel(grads["3.weight"], wanted) <= 1e-13


@every_seed
def test_no_change_where_none_is_far_enough_off(seed: int) -> None:
    net = desirous(12, 9, 7, 4)
    params, batch = given(seed, net, 5)
    grads = run_rule(RULE, net, params, batch, output_threshold=9.0).grads
    assert not any(grad.any() for grad in grads.values())


@every_seed
def test_silent_units_do_not_learn_and_others_do(seed: int) -> None:
    net = desirous(64, 40, 30, 10)
    params, batch = given(seed, net, 8)
    grads = run_rule(RULE, net, params, batch).grads
    for l, step in enumerate(net.forward(params, batch.x)[1:-1], 2):
        assert step.output.any() and grads[f"{l}.weight"].any()
        silent = ~step.output.any(1).any(0)
        assert not grads[f"{l}.weight"][silent].any()


@every_seed
def test_one_example_strengthens_its_label_and_weakens_the_others(seed: int) -> None:
    net = desirous(64, 40, 10)
    params, batch = given(seed, net, 1)
    grad = run_rule(RULE, net, params, batch).grads["3.weight"]
    label = int(batch.y[0].argmax())
    assert (grad[label] <= 0).all()
    assert (torch.cat([grad[:label], grad[label + 1 :]]) >= 0).all()


@every_seed
def test_a_batch_is_the_mean_of_its_examples(seed: int) -> None:
    net = desirous(64, 40, 10)
    params, batch = given(seed, net, 16)
    alone = [run_rule(RULE, net, params, one).grads for one in single_examples(batch)]
    mean = {name: torch.stack([g[name] for g in alone]).mean(0) for name in alone[0]}
    assert worst(run_rule(RULE, net, params, batch).grads, mean) <= 1e-13


def test_what_it_cannot_train_is_named() -> None:
    rule = get_rule(RULE)
    unit = Neuron(DECAY)
    for net, reason in (
        (spiking_network((4, 3), unit, T), "bias"),
        (spiking_network((4, 3), Neuron(DECAY, reset="zero"), T, bias=False), "reset"),
        (spiking_network((4, 3), Neuron(DECAY, fires=False), T, bias=False), "spike"),
        (spiking_network((4, 3), unit, 4, bias=False), "margin"),
    ):
        assert reason in (rule.supports(net) or "")
    assert rule.supports(desirous(4, 3)) is None
