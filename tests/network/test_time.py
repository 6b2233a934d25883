"""Networks in time: encoders, layers at each step, readouts."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Relu
from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense, Init, Layer
from bioplaus.network.neuron import Neuron
from bioplaus.network.pooling import AvgPool2d, Flatten
from bioplaus.network.time import AtEachStep, Encode, Readout
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import draw, every_seed, rel
from tests.helpers.spiking import image_batch, lively_params, spiking_network, step_by_step

T = 7


@every_seed
@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_layer_by_layer_gives_the_spikes_of_all_layers_step_by_step(
    reset: Literal["subtract", "zero"], delay: int, seed: int
) -> None:
    net = spiking_network((16, 30, 20, 10), Neuron(0.75, reset=reset), 20, delay=delay)
    params, batch = lively_params(net, seed), image_batch(net, 5, seed)
    trace = net.forward(params, batch.x)
    together = step_by_step(net, params, batch.x)
    for step, train in zip(trace[1:-1], together, strict=True):
        assert step.output.equal(train)
        assert step.output.any()
    assert rel(net.output(params, batch.x), together[-1].mean(1)) <= 1e-14


LAYERS: list[Layer] = [
    Dense(12, 4),
    Dense(12, 4, bias=False),
    Conv2d((3, 2, 2), 4, 2),
    Flatten((3, 2, 2)),
    AvgPool2d((3, 2, 2), 2),
]


@every_seed
@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("inner", LAYERS, ids=lambda layer: layer.kind)
def test_the_adjoint_is_the_transpose_and_the_gradient_autograds(
    inner: Layer, delay: int, seed: int
) -> None:
    layer = AtEachStep(inner, T, delay=delay)
    p = {
        k: draw(seed, k, *t.shape)
        for k, t in layer.init(Stream(seed), Init("lecun_normal")).items()
    }
    h, d = draw(seed, "h", 3, *layer.in_shape), draw(seed, "d", 3, *layer.out_shape)
    leaves = {k: t.clone().requires_grad_() for k, t in p.items()}
    h.requires_grad_()
    a, residuals = layer.forward(leaves, h)
    wanted = torch.autograd.grad((a * d).sum(), [h, *leaves.values()])
    below = layer.adjoint(p, residuals, d)
    found = {k: 3 * t for k, t in layer.weight_grad(residuals, d).items()}
    assert found.keys() == p.keys()
    for ours, theirs in zip([below, *found.values()], wanted, strict=True):
        assert rel(ours.detach(), theirs) <= 1e-13


@every_seed
def test_a_readout_is_the_mean_and_its_adjoint_the_transpose(seed: int) -> None:
    layer = Readout((5,), T)
    h, d = draw(seed, "h", 3, T, 5), draw(seed, "d", 3, 5)
    a, residuals = layer.forward({}, h)
    assert rel(a, h.sum(1) / T) <= 1e-14
    assert float(((a * d).sum() - (h * layer.adjoint({}, residuals, d)).sum()).abs()) <= 1e-13


def test_a_layer_without_a_neuron_is_elementwise_at_each_step() -> None:
    layer = AtEachStep(Dense(4, 4), T, Relu())
    p = {"weight": draw(0, "w", 4, 4), "bias": draw(0, "b", 4)}
    h, e = draw(0, "h", 2, T, 4), draw(0, "e", 2, T, 4)
    step = layer.trace(p, h)
    assert rel(step.output, torch.relu(h @ p["weight"].T + p["bias"])) <= 1e-14
    assert layer.pull(step, e).equal(e * (step.preactivation > 0))


@every_seed
def test_bernoulli_spikes_have_the_inputs_mean_and_predictions_none_of_its_noise(seed: int) -> None:
    x = Stream(seed).at("x").uniform((1, 64))
    layer = Encode((64,), 10, "bernoulli")
    assert layer.uniform_shape(800) == (800, 10, 64)
    uniform = Stream(seed).at("u").uniform((800, 10, 64))
    spikes = layer.forward({"uniform": uniform}, x.expand(800, -1))[0]
    assert spikes.unique().tolist() == [0, 1]
    z = (spikes.mean((0, 1)) - x[0]) / (x[0] * (1 - x[0]) / 8000).sqrt()
    assert float(z.abs().max()) < 5
    quiet = layer.forward({}, x)[0]
    assert quiet.equal(Encode((64,), 10, "accumulate").forward({}, x)[0])


@every_seed
def test_latency_codes_fire_once_and_sooner_for_more(seed: int) -> None:
    x = Stream(seed).at("x").uniform((4, 30))
    x[:, 0], x[:, 1] = 0, 1
    spikes = Encode((30,), 10, "latency").forward({}, x)[0]
    assert spikes[:, :, 0].sum() == 0
    assert (spikes[:, :, 1:].sum(1) == 1).all()
    when = spikes.argmax(1)
    assert (when[:, 1] == 0).all()
    order = x[:, 1:].argsort(1, descending=True)
    assert (when[:, 1:].gather(1, order).diff(dim=1) >= 0).all()


def test_errors_go_through_a_current_and_no_further_than_spikes() -> None:
    d = draw(0, "d", 2, T, 3)
    assert Encode((3,), T, "current").adjoint({}, (), d).equal(d.sum(1))
    assert not Encode((3,), T, "accumulate").adjoint({}, (), d).any()


def test_units_are_counted_without_time_and_work_with_it() -> None:
    layer = AtEachStep(Dense(4, 6), T)
    assert (layer.in_shape, layer.out_shape, layer.unit_shape) == ((T, 4), (T, 6), (6,))
    assert layer.multiply_adds() == T * 24
    assert Dense(4, 6).unit_shape == (6,)
    assert spiking_network((4, 6, 3), Neuron(), T).top == 2


def test_impossible_layers_are_refused() -> None:
    for change in ({"steps": 0}, {"delay": 2}, {"delay": -1}):
        with pytest.raises(ConfigError):
            replace(AtEachStep(Dense(4, 6), T), **change)  # type: ignore[arg-type]
