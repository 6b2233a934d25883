"""E-prop against autograd with recurrent spikes cut, and against traces that run forward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.learning.rule import Batch, State
from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense, Layer, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron, Triangle
from bioplaus.network.pooling import Flatten
from bioplaus.network.recurrent import Recurrent
from bioplaus.network.time import AtEachStep, Encode, Readout
from bioplaus.numerics.random_streams import Stream
from bioplaus.testing.networks import make_network
from tests.helpers.networks import every_seed, get_rule, run_rule, worst
from tests.helpers.spiking import grads_step_by_step, image_batch, lively_params, spiking_network

UNIT = Neuron(0.9, 0.8, surrogate=Triangle(0.3), gain=0.7, refractory=1)
TOP = Neuron(0.8, fires=False, gain=0.6)
SYMMETRIC = {"broadcast": "symmetric"}


def network(*widths: int, top: Neuron = TOP, delay: int = 0, recurrent: bool = True) -> Network:
    return spiking_network(widths, UNIT, 12, top=top, delay=delay, recurrent=recurrent)


@every_seed
@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("top", [TOP, Neuron(0.8, 0.7)], ids=["integrator", "spiking"])
def test_symmetric_e_prop_is_autograd_with_the_recurrent_spikes_cut(
    top: Neuron, delay: int, seed: int
) -> None:
    """Bellec et al. 2020: its gradient is that of backpropagation through time but for the way
    through recurrent spikes."""
    net = network(16, 20, 5, top=top, delay=delay)
    params, batch = lively_params(net, seed), image_batch(net, 4, seed)
    grads = run_rule("e-prop", net, params, batch, **SYMMETRIC).grads
    assert worst(grads, grads_step_by_step(net, params, batch, cut=True)) <= 1e-10
    assert grads["2.recurrent"].any()
    assert worst(grads, run_rule("backprop", net, params, batch).grads) > 1e-3


def by_eligibility(net: Network, params: Params, batch: Batch, feedback: Params) -> Params:
    """The equations with a trace for each synapse, forward in time: nothing waits for later."""
    trace = net.forward(params, batch.x)
    examples, steps, _ = trace[-2].output.shape
    eps = net.loss.error(trace[-1].output, batch.y) / steps
    readout = net.layers[-2].activation
    assert isinstance(readout, Neuron)
    grads: Params = {}
    for l in range(1, net.depth - 1):
        layer, step = net.layers[l], trace[l]
        neuron, name = layer.activation, f"{l + 1}."
        assert isinstance(neuron, Neuron)
        hidden = l < net.depth - 2
        signal = readout.gain * eps @ feedback[name + "feedback"].T if hidden else eps
        kappa = readout.decay if hidden else 0.0
        sources = {"weight": step.input, "bias": torch.ones(examples, steps, 1).double()}
        if isinstance(layer, Recurrent):
            sources["recurrent"] = torch.cat(
                [torch.zeros_like(step.output[:, :1]), step.output[:, :-1]], 1
            )
        for source, train in sources.items():
            x = torch.zeros_like(train[:, 0])
            ebar = torch.zeros(examples, step.output.shape[-1], train.shape[-1]).double()
            total = torch.zeros_like(ebar)
            for t in range(steps):
                x = neuron.decay * x + neuron.gain * train[:, t]
                ebar = kappa * ebar + step.slope[:, t, :, None] * x[:, None]
                total = total + signal[:, :, None] * ebar
            mean = total.mean(0)
            grads[name + source] = mean[:, 0] if source == "bias" else mean
    return grads


@every_seed
@pytest.mark.parametrize("widths", [(16, 20, 5), (16, 20, 12, 5)], ids=str)
def test_random_e_prop_is_the_sum_over_traces_forward_in_time(
    widths: tuple[int, ...], seed: int
) -> None:
    net = network(*widths)
    params, batch = lively_params(net, seed), image_batch(net, 4, seed)
    state = get_rule("e-prop").init_state(net, params, Stream(seed).at("state"))
    update = run_rule("e-prop", net, params, batch, state=state)
    expected = by_eligibility(net, params, batch, state.memory)
    assert update.grads.keys() == params.keys()
    assert worst(update.grads, expected) <= 1e-10


@every_seed
def test_without_recurrent_weights_it_is_backprop_or_direct_feedback_alignment(seed: int) -> None:
    one, two = network(16, 20, 5, recurrent=False), network(16, 20, 12, 5, recurrent=False)
    params, batch = lively_params(one, seed), image_batch(one, 4, seed)
    ours = run_rule("e-prop", one, params, batch, **SYMMETRIC).grads
    assert worst(ours, run_rule("backprop", one, params, batch).grads) <= 1e-12
    for net in (one, two):
        params = lively_params(net, seed)
        dfa = get_rule("direct-feedback-alignment")
        state = dfa.init_state(net, params, Stream(seed).at("state"))
        ours = run_rule("e-prop", net, params, batch, state=state).grads
        theirs = run_rule("direct-feedback-alignment", net, params, batch, state=state).grads
        assert worst(ours, theirs) <= 1e-12


@every_seed
def test_without_traces_a_step_meets_its_own_activity_alone(seed: int) -> None:
    net = network(16, 20, 5)
    params, batch = lively_params(net, seed), image_batch(net, 4, seed)
    trace = net.forward(params, batch.x)
    eps = net.loss.error(trace[-1].output, batch.y) / 12
    signal = TOP.gain * eps @ params["3.weight"]
    weight, across, bias = (
        torch.zeros_like(params[f"2.{k}"]) for k in ("weight", "recurrent", "bias")
    )
    before = torch.zeros(4, 20).double()
    for t in range(12):
        post = trace[1].slope[:, t] * signal * UNIT.gain / 4
        weight += post.T @ trace[1].input[:, t]
        across += post.T @ before
        bias += post.sum(0)
        before = trace[1].output[:, t]
    grads = run_rule("e-prop", net, params, batch, **SYMMETRIC, traces=False).grads
    whole = run_rule("e-prop", net, params, batch, **SYMMETRIC).grads
    ours: dict[str, Tensor] = {"2.weight": weight, "2.recurrent": across, "2.bias": bias}
    ours |= {name: whole[name] for name in ("3.weight", "3.bias")}
    assert worst(grads, ours) <= 1e-10


def test_symmetric_feedback_has_no_state_and_random_one_stays() -> None:
    net = network(16, 20, 5)
    params, batch = lively_params(net, 0), image_batch(net, 4, 0)
    assert get_rule("e-prop", **SYMMETRIC).init_state(net, params, Stream(0)) == State({}, {})
    state = get_rule("e-prop").init_state(net, params, Stream(0))
    assert state.memory.keys() == {"2.feedback"}
    update = run_rule("e-prop", net, params, batch, state=state)
    assert update.memory["2.feedback"].equal(state.memory["2.feedback"])


def chain(*layers: Layer) -> Network:
    top = layers[-1].unit_shape
    encode = Encode(layers[0].in_shape[1:], 6)
    return Network((encode, *layers, Readout(top, 6)), get_loss("mse"), top[0])


OUT = AtEachStep(Dense(5, 3), 6, TOP)
REFUSED = [
    (make_network((6, 5, 3)), {}, "networks in time alone"),
    (network(8, 6, 5, 3), SYMMETRIC, 'there are 2: set broadcast = "random"'),
    (chain(AtEachStep(Dense(4, 5), 6), OUT), {}, "layer 2: its units have no membrane"),
    (chain(AtEachStep(Dense(4, 5), 6, TOP), OUT), {}, "layer 2: its units do not spike"),
    (chain(AtEachStep(Dense(4, 5), 6, Neuron(reset="zero")), OUT), {}, "pass by the reset"),
    (chain(AtEachStep(Dense(4, 5), 6, Neuron(through_reset=True)), OUT), {}, "pass by the reset"),
    (chain(Recurrent(Dense(4, 5), 6, Neuron())), {}, "layer 2: it is the readout"),
    (
        chain(
            AtEachStep(Conv2d((1, 2, 2), 5, 2), 6, Neuron()),
            AtEachStep(Flatten((5, 1, 1)), 6),
            OUT,
        ),
        {},
        "layer 2: a conv2d layer",
    ),
]


@pytest.mark.parametrize(("net", "options", "reason"), REFUSED, ids=[r for _, _, r in REFUSED])
def test_what_it_cannot_train_is_said(
    net: Network, options: dict[str, object], reason: str
) -> None:
    assert reason in (get_rule("e-prop", **options).supports(net) or "")
