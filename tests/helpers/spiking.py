"""Spiking networks, and an oracle: every layer step by step, which autograd sees through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from bioplaus.learning.batching import batched_update, stacked_initial
from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Dense, Init, Layer, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.neuron import Atan, Neuron, SuperSpike, Surrogate, Triangle
from bioplaus.network.recurrent import Recurrent
from bioplaus.network.time import AtEachStep, Code, Encode, Readout
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import get_rule

SURROGATES = (SuperSpike(10.0), Triangle(0.3), Atan(2.0))


def spiking_network(
    widths: Sequence[int],
    neuron: Neuron,
    steps: int,
    *,
    top: Neuron | None = None,
    delay: int = 1,
    loss: str = "mse",
    how: Code = "accumulate",
    bias: bool = True,
    recurrent: bool = False,
) -> Network:
    """Dense layers of these neurons, the first without a delay. top: the last layer's.

    recurrent: all but the last have recurrent weights.
    """
    layers: list[Layer] = [Encode((widths[0],), steps, how)]
    for l, (below, above) in enumerate(pairwise(widths)):
        unit = top if top is not None and l == len(widths) - 2 else neuron
        dense = Dense(below, above, bias=bias)
        kind = Recurrent if recurrent and l < len(widths) - 2 else AtEachStep
        layers.append(kind(dense, steps, unit, delay if l else 0))
    layers.append(Readout((widths[-1],), steps))
    return Network(tuple(layers), get_loss(loss), widths[-1], Init("lecun_normal", 2**0.5))


def lively_params(net: Network, seed: int) -> Params:
    """Kaiming weights, which keep layers firing, and small biases."""
    params = net.init(Stream(seed).at("spiking"))
    return {
        name: 0.1 * Stream(seed).at(name).normal(t.shape) if name.endswith("bias") else t
        for name, t in params.items()
    }


def image_batch(net: Network, size: int, seed: int) -> Batch:
    """Examples in [0, 1], as encoders want them, with one-hot targets."""
    stream = Stream(seed).at("spiking batch")
    labels = (net.classes * stream.at("y").uniform((size,))).long()
    y = torch.nn.functional.one_hot(labels, net.classes).double()
    return Batch(stream.at("x").uniform((size, *net.in_shape)), y)


def smooth(surrogate: Surrogate, x: Tensor, threshold: float) -> Tensor:
    """The function whose slope the surrogate is."""
    match surrogate:
        case SuperSpike(beta):
            return x / (1 + beta * x.abs())
        case Triangle(gamma):
            z = x.clamp(-threshold, threshold) / threshold
            return gamma * (z - z * z.abs() / 2)
        case Atan(alpha):
            return torch.atan(math.pi * alpha * x / 2) / math.pi
    raise AssertionError(surrogate)


class Unit:
    """One layer's state along time, by the equations and by autograd."""

    def __init__(self, neuron: Neuron, soft: bool = False) -> None:
        self.neuron, self.soft = neuron, soft
        self.v: Tensor | float = 0.0
        self.waiting: Tensor | float = 0.0
        self.raised: Tensor | float = 0.0

    def step(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """u_t and s_t for the currents a_t."""
        n = self.neuron
        u = n.decay * self.v + n.gain * a
        if not n.fires:
            self.v = u
            return u, u
        needed = n.threshold + n.adaptation * self.raised
        sig = smooth(n.surrogate, u - needed, n.threshold)
        hard = (u >= needed).to(u.dtype)
        s = sig if self.soft else hard + (sig - sig.detach())
        s = s * (torch.as_tensor(self.waiting) == 0)
        felt = s if n.through_reset else s.detach()
        self.v = u - n.threshold * felt if n.reset == "subtract" else (1 - felt) * u
        self.raised = n.adaptation_decay * self.raised + s
        fired = s.detach() > 0.5
        self.waiting = torch.where(
            fired, float(n.refractory), (torch.as_tensor(self.waiting) - 1).clamp(min=0.0)
        )
        return u, s


def step_by_step(
    net: Network, params: Params, x: Tensor, soft: bool = False, cut: bool = False
) -> list[Tensor]:
    """The trains of all layers but encoder and readout, simulated together, one step at a time.

    cut: recurrent spikes are felt as if they were given from outside.
    """
    encoder, *middle, _ = net.layers
    trains = encoder.forward({}, x)[0]
    layers = [layer for layer in middle if isinstance(layer, AtEachStep)]
    units = [Unit(k.activation, soft) if isinstance(k.activation, Neuron) else None for k in layers]
    before = [torch.zeros(len(x), *layer.inner.in_shape, dtype=x.dtype) for layer in layers]
    outputs: list[list[Tensor]] = [[] for _ in layers]
    for t in range(trains.shape[1]):
        h = trains[:, t]
        for l, (layer, unit) in enumerate(zip(layers, units, strict=True), 1):
            read, before[l - 1] = (before[l - 1], h) if layer.delay else (h, before[l - 1])
            p = net.at(params, l)
            a = layer.inner.forward(p, read)[0]
            if isinstance(layer, Recurrent) and t > 0:
                felt = outputs[l - 1][-1]
                a = a + (felt.detach() if cut else felt) @ p["recurrent"].T
            h = unit.step(a)[1] if unit else layer.activation(a)
            outputs[l - 1].append(h)
    return [torch.stack(train, 1) for train in outputs]


def grads_step_by_step(
    net: Network, params: Params, batch: Batch, soft: bool = False, cut: bool = False
) -> Params:
    """The gradient of the loss through the oracle, by autograd."""
    leaves = {name: t.clone().requires_grad_() for name, t in params.items()}
    output = step_by_step(net, leaves, batch.x, soft, cut)[-1].mean(1)
    grads = torch.autograd.grad(
        net.loss.value(output, batch.y), list(leaves.values()), materialize_grads=True
    )
    return dict(zip(leaves, grads, strict=True))


def replicas_of_backprop(net: Network, seed: int) -> tuple[Params, Batch, Params]:
    """Three replicas in double precision, a batch that they share, and their gradients, (3, ...).

    Asserts that the traced step gives the same bits.
    """
    seeds = [3 * seed + k for k in range(3)]
    rule = get_rule("backprop")
    params, state = stacked_initial(rule, net, seeds, torch.float64, torch.device("cpu"))
    batch = image_batch(net, 6, seed)
    copies = Batch(*(t.expand(3, *t.shape) for t in batch))
    step = batched_update(rule, net)
    grads = step(params, state, copies, {}).grads
    replayed = make_fx(step)(params, state, copies, {})(params, state, copies, {})
    assert all(grad.equal(replayed.grads[name]) for name, grad in grads.items())
    return params, batch, grads


def task_text(hidden: str) -> str:
    """A task file of a small network in time around this hidden layer's table."""
    return f"""
name = "trains"
dataset = "digits"
loss = "mse"
batch_size = 50
epochs = 2

[optimizer]
name = "adam"

[network]
steps = 6
layers = [
    {{ type = "encode" }},
    {hidden},
    {{ units = 10, neuron = {{ decay = 0.8, fires = false }} }},
    {{ type = "readout" }},
]
"""
