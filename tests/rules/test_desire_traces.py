"""Desire backpropagation by traces of what synapses bring, and one example at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron
from tests.helpers.networks import every_seed, run_rule, single_examples, worst
from tests.helpers.spiking import image_batch, lively_params, spiking_network

STEPS, MARGIN, OUT, HIDDEN = 20, 4, 0.3, 0.05


def by_pre_traces(net: Network, params: Params, batch: Batch, decay: float) -> Params:
    """gW = -< sum_t (s_t sigma) x_t^T >, x a trace of the train that the layer reads."""
    trains = [step.output for step in net.forward(params, batch.x)[:-1]]
    desire, grads = batch.y, {}
    acts = (desire - trains[-1].sum(1) / (STEPS - MARGIN)).mul(2 * desire - 1) > OUT
    for l in range(net.depth - 2, 0, -1):
        sign = (2 * desire - 1) * acts
        x = torch.zeros_like(trains[l - 1][:, 0])
        total: Tensor = torch.zeros_like(params[f"{l + 1}.weight"])
        for t in range(STEPS):
            since = t if l == 1 else t - 1
            x = decay * x + (trains[l - 1][:, since] if since >= 0 else 0)
            total = total - (trains[l][:, t] * sign).T @ x
        grads[f"{l + 1}.weight"] = total / len(batch.x)
        off = (desire - trains[l].sum(1) / (STEPS - MARGIN)).abs() * sign
        q = off @ params[f"{l + 1}.weight"]
        desire, acts = (q > 0).to(q.dtype), q.abs() >= HIDDEN
    return grads


@every_seed
@pytest.mark.parametrize("decay", [0.75, 0.9])
def test_traces_before_synapses_are_traces_behind_them_backwards(decay: float, seed: int) -> None:
    """The rule has them on the post side, against time; the same sum."""
    net = spiking_network((16, 30, 20, 10), Neuron(decay), STEPS, bias=False)
    params, batch = lively_params(net, seed), image_batch(net, 4, seed)
    grads = run_rule("desire-backpropagation", net, params, batch).grads
    assert all(grad.any() for grad in grads.values())
    assert worst(grads, by_pre_traces(net, params, batch, decay)) <= 1e-13


@every_seed
def test_an_example_spikes_as_it_does_alone(seed: int) -> None:
    net = spiking_network((64, 40, 30, 10), Neuron(0.75), STEPS, bias=False)
    params, batch = lively_params(net, seed), image_batch(net, 16, seed)
    together = net.forward(params, batch.x)
    for k, one in enumerate(single_examples(batch)):
        for alone, step in zip(net.forward(params, one.x), together, strict=True):
            assert alone.output[0].equal(step.output[k])
