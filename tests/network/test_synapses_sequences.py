"""Synaptic operations where examples are sequences, and where units feel each other."""

from __future__ import annotations

import torch

from bioplaus.network.layer import Dense
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron
from bioplaus.network.recurrent import Recurrent
from bioplaus.network.synapses import activity
from bioplaus.network.time import AtEachStep, Encode, Readout
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.task import read_task
from tests.helpers.spiking import lively_params

UNIT, STEPS = Neuron(0.8, 0.3), 5
NET = Network(
    (
        Encode((STEPS * 6,), STEPS, "sequence"),
        Recurrent(Dense(6, 7), STEPS, UNIT),
        AtEachStep(Dense(7, 3), STEPS, UNIT, 1),
        Readout((3,), STEPS),
    ),
    get_loss("mse"),
    3,
)


def examples() -> torch.Tensor:
    """Two of events, then two of grey values."""
    x = Stream(0).at("events").uniform((4, STEPS * 6))
    x[:2] = (x[:2] < 0.4).double()
    x[2:, :7] = 0
    return x


def test_a_sequence_is_spikes_where_its_numbers_are_0_or_1() -> None:
    params, x = lively_params(NET, 0), examples()
    trace = NET.forward(params, x)
    found = activity(NET, params, trace)
    s = trace[1].output
    read = 7 * (x != 0).sum(1)  # each of the input's numbers reaches all 7 units
    # neither layer above reads the last step: 7 recurrent weights and 3 to the top for each spike
    within = (7 + 3) * s[:, :-1].sum((1, 2))
    assert torch.equal(found.accumulates, within + read * torch.tensor([1, 1, 0, 0]))
    assert torch.equal(found.multiply_accumulates, read * torch.tensor([0.0, 0, 1, 1]).double())
    assert found.spikes[1].tolist() == [x[0].sum(), x[1].sum(), 0, 0]
    assert within.min() > 0 and list(found.spikes) == [1, 2, 3]


def test_examples_decide_for_themselves() -> None:
    params, x = lively_params(NET, 0), examples()
    together = activity(NET, params, NET.forward(params, x)).accumulates
    for n in range(4):
        own = x[n : n + 1]
        assert activity(NET, params, NET.forward(params, own)).accumulates.equal(together[n][None])


def test_n_mnist_comes_frame_by_frame() -> None:
    net = read_task("nmnist-spiking").build_network()
    encoder = net.layers[0]
    assert net.in_shape == (20 * 17 * 17,) and encoder.out_shape == (10, 578)
    x = torch.zeros(1, 20, 17, 17)
    x[0, 7, 2, 10] = 1  # frame 3, brighter, row 2, column 10
    assert encoder.forward({}, x.flatten(1))[0].nonzero().tolist() == [[0, 3, 289 + 2 * 17 + 10]]
