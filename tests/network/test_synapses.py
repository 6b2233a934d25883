"""Spikes and synaptic operations of an inference, against sums over single synapses."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron
from bioplaus.network.pooling import AvgPool2d, Flatten, MaxPool2d
from bioplaus.network.synapses import activity, spiking_layers, why_not_counted
from bioplaus.network.time import AtEachStep, Code, Encode, Readout
from bioplaus.network.truncation import TruncatedDense
from bioplaus.testing.networks import make_network
from tests.helpers.spiking import image_batch, lively_params, spiking_network

SEEDS = range(10)
UNIT = Neuron(0.8, 0.3)


def thinned(params: Params) -> Params:
    """A third of the weights 0."""
    return {
        name: t * (torch.arange(t.numel()).reshape(t.shape) % 3 > 0) for name, t in params.items()
    }


def by_synapse(weight: Tensor, trains: Tensor) -> Tensor:
    """Of each example, one for each nonzero weight and each nonzero number that it meets."""
    total = torch.zeros(len(trains), dtype=torch.float64)
    for n, train in enumerate(trains.tolist()):
        for h in train:
            for row in weight.tolist():
                total[n] += sum(w != 0 and x != 0 for w, x in zip(row, h, strict=True))
    return total


@pytest.mark.parametrize("how", ["accumulate", "current", "latency"])
@pytest.mark.parametrize("seed", SEEDS)
def test_each_spike_counts_the_nonzero_weights_that_it_reaches(seed: int, how: Code) -> None:
    net = spiking_network((6, 7, 5, 3), UNIT, 5, how=how, delay=1)
    params, batch = thinned(lively_params(net, seed)), image_batch(net, 3, seed)
    batch.x[:, 0] = 0
    trace = net.forward(params, batch.x)
    found = activity(net, params, trace)
    trains = [step.output for step in trace]
    first = by_synapse(params["2.weight"], trains[0])
    # what a unit spikes at the last step a delayed layer never reads
    above = by_synapse(params["3.weight"], trains[1][:, :-1])
    above += by_synapse(params["4.weight"], trains[2][:, :-1])
    assert above.sum() > 0
    on_spikes = above if how == "current" else above + first
    on_numbers = first if how == "current" else torch.zeros(3, dtype=torch.float64)
    assert torch.equal(found.accumulates, on_spikes)
    assert torch.equal(found.multiply_accumulates, on_numbers)
    spiking = [2, 3, 4] if how == "current" else [1, 2, 3, 4]
    assert list(found.spikes) == spiking
    for l in spiking:
        assert torch.equal(found.spikes[l], (trains[l - 1] == 1).sum((1, 2)).double())


def test_a_spiking_convolution_by_its_places() -> None:
    """Each kernel weight at each place, where the padding has no input."""
    steps, shape = 3, (2, 4, 4)
    conv = Conv2d(shape, 3, 3, padding=1, bias=True)
    layers = (
        Encode(shape, steps),
        AtEachStep(conv, steps, UNIT),
        AtEachStep(MaxPool2d(conv.out_shape, 2), steps),
        AtEachStep(Flatten((3, 2, 2)), steps),
        AtEachStep(Dense(12, 4), steps, UNIT),
        Readout((4,), steps),
    )
    net = Network(layers, get_loss("mse"), 4)
    assert spiking_layers(net) == [True, True, True, True, True, False]
    params, batch = thinned(lively_params(net, 1)), image_batch(net, 2, 1)
    trace = net.forward(params, batch.x)
    found = activity(net, params, trace)
    kernel, expected = params["2.weight"].reshape(3, 2, 3, 3), torch.zeros(2, dtype=torch.float64)
    for out in range(3):
        for c in range(2):
            for i in range(3):
                for j in range(3):
                    if kernel[out, c, i, j] != 0:
                        rows = range(max(0, 1 - i), min(4, 5 - i))
                        columns = range(max(0, 1 - j), min(4, 5 - j))
                        for y in rows:
                            for x in columns:
                                expected += trace[0].output[:, :, c, y + i - 1, x + j - 1].sum(1)
    expected += by_synapse(params["5.weight"], trace[3].output)
    assert torch.equal(found.accumulates, expected) and expected.min() > 0
    assert list(found.spikes) == [1, 2, 5]  # pooled and flattened ones are no new spikes
    mean = AtEachStep(AvgPool2d(conv.out_shape, 2), steps)
    averaged = Network((*layers[:2], mean, *layers[3:]), get_loss("mse"), 4)
    trace = averaged.forward(params, batch.x)
    found = activity(averaged, params, trace)
    products = by_synapse(params["5.weight"], trace[3].output)
    assert torch.equal(found.multiply_accumulates, products) and products.min() > 0


@dataclass(frozen=True)
class Lateral(AtEachStep):
    """Units with weights to each other, which here do nothing."""


def test_recurrent_weights_are_reached_a_step_later() -> None:
    base = spiking_network((6, 7, 3), UNIT, 5)
    lateral = Lateral(Dense(6, 7), 5, UNIT)
    net = Network((base.layers[0], lateral, *base.layers[2:]), base.loss, 3)
    params, batch = lively_params(net, 0), image_batch(net, 2, 0)
    across = torch.randn(7, 7, generator=torch.Generator().manual_seed(0)).double()
    across[0, 1:] = 0
    trace = net.forward(params, batch.x)
    without = activity(net, params, trace)
    found = activity(net, params | {"2.recurrent": across}, trace)
    more = by_synapse(across, trace[1].output[:, :-1])
    assert torch.equal(found.accumulates - without.accumulates, more) and more.min() > 0


def test_other_networks_say_why_they_have_no_spikes() -> None:
    assert why_not_counted(make_network((7, 6, 4))) == "no unit spikes"
    silent = spiking_network((6, 3), Neuron(0.8, fires=False), 4)
    assert why_not_counted(silent) == "no unit spikes"
    assert why_not_counted(spiking_network((6, 3), UNIT, 4)) is None
    encoder, _, readout = spiking_network((6, 3), UNIT, 4).layers
    truncated = AtEachStep(TruncatedDense(6, 3, 1), 4, UNIT)
    net = Network((encoder, truncated, readout), get_loss("mse"), 3)
    assert "multiply" in (why_not_counted(net) or "")
