"""Rules of errors that come down, on spiking networks: backprop and its feedback forms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from bioplaus.learning.gradients import batched_loss_grad
from bioplaus.learning.rule import State
from bioplaus.network.activations import Activation
from bioplaus.network.layer import Dense
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron, SuperSpike
from bioplaus.network.toml_layers import (
    Conv2dSpec,
    DenseSpec,
    FlattenSpec,
    MaxPool2dSpec,
    build_layers,
)
from bioplaus.network.toml_neuron import NeuronSpec
from bioplaus.network.toml_time import EncodeSpec, ReadoutSpec
from bioplaus.numerics.random_streams import Stream
from bioplaus.training.operation_count import Operations, count
from tests.helpers.networks import autograd_grads, every_seed, get_rule, rel, run_rule, worst
from tests.helpers.spiking import (
    SURROGATES,
    Unit,
    grads_step_by_step,
    image_batch,
    lively_params,
    replicas_of_backprop,
    spiking_network,
)

FAMILY = ["feedback-alignment", "direct-feedback-alignment", "sign-symmetry", "kolen-pollack"]
CHOICES = [
    *product(
        ("subtract", "zero"),
        (False, True),
        SURROGATES,
        (0, 2),
        (0, 1),
        ("mse", "cross_entropy"),
        (True, False),
    )
]


@every_seed
def test_backprop_is_autograds_gradient_of_the_straight_through_network(seed: int) -> None:
    """192 kinds of network; each seed takes every fifth, so each kind is tried twice."""
    assert len(CHOICES) == 192
    for reset, through, surrogate, refractory, delay, loss, fires in CHOICES[seed % 5 :: 5]:
        neuron = Neuron(0.8, 0.9, reset, refractory, 1.1, surrogate, through)
        top = replace(neuron, fires=fires)
        net = spiking_network((8, 10, 7, 4), neuron, 8, top=top, delay=delay, loss=loss)
        params, batch = lively_params(net, seed), image_batch(net, 3, seed)
        true = grads_step_by_step(net, params, batch)
        assert worst(run_rule("backprop", net, params, batch).grads, true) <= 1e-12
        assert worst(autograd_grads(net, params, batch), true) <= 1e-12  # what probes compare with


@dataclass(frozen=True)
class Soft(Neuron):
    """A neuron that gives the smooth step itself."""

    def run(self, a: Tensor) -> tuple[Tensor, Tensor]:
        unit = Unit(self, soft=True)
        pairs = [unit.step(a[:, t]) for t in range(a.shape[1])]
        u, s = (torch.stack(part, 1) for part in zip(*pairs, strict=True))
        return u, s


@every_seed
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_backprop_through_a_soft_network_is_a_difference_quotient(reset: Any, seed: int) -> None:
    neuron = Soft(0.8, 0.9, reset, surrogate=SuperSpike(10.0), through_reset=True)
    net = spiking_network((8, 10, 7, 4), neuron, 8, how="current")
    params, batch = lively_params(net, seed), image_batch(net, 3, seed)
    grads = run_rule("backprop", net, params, batch).grads
    largest = max(float(g.abs().max()) for g in grads.values())
    names = sorted(params)
    for k in range(20):
        name = names[k % len(names)]
        entry = (7 * k + seed) % params[name].numel()
        values = []
        for h in (1e-5, -1e-5):
            moved = params[name].clone()
            moved.view(-1)[entry] += h
            values.append(float(net.mean_loss(params | {name: moved}, *batch)))
        quotient = (values[0] - values[1]) / 2e-5
        assert abs(quotient - float(grads[name].view(-1)[entry])) <= 1e-7 * largest


class Step(Activation):
    """A spike without time."""

    name: ClassVar[str] = "step"

    def __call__(self, a: Tensor) -> Tensor:
        return (a >= 1).to(a.dtype)

    def slope_at(self, a: Tensor) -> Tensor:
        return SuperSpike(10.0).slope(a - 1, 1.0)


@every_seed
def test_one_step_is_a_network_without_time(seed: int) -> None:
    net = spiking_network((8, 10, 4), Neuron(0.8), 1, delay=0, how="current")
    layers = Dense(8, 10, Step()), Dense(10, 4, Step())
    plain = Network(layers, get_loss("mse"), 4)
    params, batch = lively_params(net, seed), image_batch(net, 5, seed)
    shifted = {f"{int(k[0]) - 1}{k[1:]}": t for k, t in params.items()}
    for rule in ("backprop", "sign-symmetry"):
        ours = run_rule(rule, net, params, batch).grads
        theirs = run_rule(rule, plain, shifted, batch).grads
        assert worst(dict(zip(theirs, ours.values(), strict=True)), theirs) <= 1e-14


def convolutional(steps: int) -> Network:
    neuron = NeuronSpec(decay=0.8)
    specs = (
        EncodeSpec(),
        Conv2dSpec(channels=4, kernel=3, padding=1, neuron=neuron),
        MaxPool2dSpec(kernel=2),
        FlattenSpec(),
        DenseSpec(units=4, neuron=neuron, delay=1),
        ReadoutSpec(),
    )
    return Network(build_layers(specs, (2, 6, 6), steps), get_loss("mse"), 4)


@every_seed
def test_convolutions_and_pooling_in_time(seed: int) -> None:
    net = convolutional(6)
    params, batch = lively_params(net, seed), image_batch(net, 3, seed)
    true = grads_step_by_step(net, params, batch)
    assert worst(run_rule("backprop", net, params, batch).grads, true) <= 1e-12


@every_seed
def test_replicas_in_the_harness(seed: int) -> None:
    net = spiking_network((64, 50, 30, 10), Neuron(0.75), 12)
    params, batch, grads = replicas_of_backprop(net, seed)
    assert worst(grads, batched_loss_grad(net)(params, batch)) <= 1e-12


@every_seed
def test_feedback_that_is_the_transpose_is_backprop(seed: int) -> None:
    net = spiking_network((8, 10, 7, 4), Neuron(0.8), 8)
    params, batch = lively_params(net, seed), image_batch(net, 3, seed)
    memory = {k: t for k, t in params.items() if k.endswith("weight") and k != "2.weight"}
    update = run_rule("feedback-alignment", net, params, batch, state=State({}, memory))
    true = run_rule("backprop", net, params, batch).grads
    assert all(grad.equal(true[name]) for name, grad in update.grads.items())


@every_seed
@pytest.mark.parametrize("rule", FAMILY)
def test_feedback_rules_have_the_top_layers_gradient_and_none_to_spare(
    rule: str, seed: int
) -> None:
    net = spiking_network((8, 10, 7, 4), Neuron(0.8), 8)
    params, batch = lively_params(net, seed), image_batch(net, 3, seed)
    true = run_rule("backprop", net, params, batch).grads
    grads = run_rule(rule, net, params, batch).grads
    assert grads.keys() == true.keys()
    for name in ("4.weight", "4.bias"):
        assert rel(grads[name], true[name]) <= 1e-12
    for name in ("2.weight", "3.weight"):
        assert 1e-3 < rel(grads[name], true[name]) < 1e3
    drawn = get_rule(rule).init_state(net, params, Stream(seed))
    kept = {**drawn.aux, **drawn.memory}
    assert "2.weight" not in kept and "1.feedback" not in kept


def cost(steps: int) -> Operations:
    """Of an update by backprop on a network of so many steps, traced."""
    net = spiking_network((20, 30, 4), Neuron(0.8), steps)
    params, batch = lively_params(net, 0), image_batch(net, 16, 0)
    rule = get_rule("backprop")

    def grads(*tensors: Tensor) -> list[Tensor]:
        given = dict(zip(params, tensors, strict=True))
        return list(rule.update(net, given, State({}, {}), batch, {}).grads.values())

    graph = make_fx(grads)(*params.values())
    graph.graph.eliminate_dead_code()
    return count(graph)


def test_an_update_has_as_many_operations_whatever_the_time_and_holds_in_proportion() -> None:
    few, many = cost(10), cost(40)
    assert few.operations == many.operations < 60
    assert 3.5 < many.peak_bytes / few.peak_bytes <= 4
