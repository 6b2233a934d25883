"""Small networks, parameters and batches to try a rule on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod

import torch

from bioplaus.learning.rule import Batch
from bioplaus.network.activations import Identity, parse_activation
from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense, Layer, Params, Tower
from bioplaus.network.losses import Loss, get_loss
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron
from bioplaus.network.pooling import Flatten, MaxPool2d
from bioplaus.network.recurrent import Recurrent
from bioplaus.network.time import AtEachStep, Encode, Readout
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.dataset import Split

LAYERS: dict[str, type[Dense]] = {layer.kind: layer for layer in (Dense, Tower)}


def make_network(
    widths: Sequence[int],
    activation: str = "leaky_relu(0.1)",
    loss: str | Loss = "mse",
    *,
    kind: str = "dense",
    classes: int | None = None,
    bias: bool = True,
) -> Network:
    """Layers of one kind and activation; under cross-entropy the last is linear."""
    loss = get_loss(loss) if isinstance(loss, str) else loss
    hidden = parse_activation(activation)
    top = Identity() if loss.name == "cross_entropy" else hidden
    last = len(widths) - 2
    layers = tuple(
        LAYERS[kind](below, above, top if l == last else hidden, bias)
        for l, (below, above) in enumerate(pairwise(widths))
    )
    return Network(layers, loss, widths[-1] if classes is None else classes)


def make_convolutional(activation: str = "tanh", loss: str = "cross_entropy") -> Network:
    """A convolution, max-pooling, a convolution, flatten and a dense layer; 5 layers, 4 classes.

    Under cross-entropy the last is linear.
    """
    hidden = parse_activation(activation)
    top = Identity() if loss == "cross_entropy" else hidden
    layers: list[Layer] = [Conv2d((2, 5, 4), 3, 2, padding=1, activation=hidden)]
    layers.append(MaxPool2d(layers[-1].out_shape, 2))
    layers.append(Conv2d(layers[-1].out_shape, 4, 2, activation=hidden))
    layers.append(Flatten(layers[-1].out_shape))
    layers.append(Dense(prod(layers[-1].out_shape), 4, top))
    return Network(tuple(layers), get_loss(loss), 4)


def make_spiking(loss: str = "mse") -> Network:
    """Three layers of leaky units that fire, over six steps; 5 layers in all, 4 classes.

    Its encoder draws its spikes, in predictions too.
    """
    steps, unit = 6, Neuron(0.75, threshold=0.5)
    widths = (7, 9, 6, 4)
    layers: list[Layer] = [Encode((widths[0],), steps, "bernoulli", True)]
    for l, (below, above) in enumerate(pairwise(widths)):
        layers.append(AtEachStep(Dense(below, above, bias=False), steps, unit, min(l, 1)))
    return Network((*layers, Readout((4,), steps)), get_loss(loss), 4)


def make_recurrent(loss: str = "mse") -> Network:
    """Six units that fire and feel each other, over five steps, read by integrators; 4 classes."""
    steps, unit, top = 5, Neuron(0.75, threshold=0.5), Neuron(0.75, fires=False)
    layers = (
        Encode((7,), steps),
        Recurrent(Dense(7, 6), steps, unit),
        AtEachStep(Dense(6, 4), steps, top),
        Readout((4,), steps),
    )
    return Network(layers, get_loss(loss), 4)


NETWORKS: Mapping[str, Network] = {
    "square": make_network((6, 6, 6, 6), "leaky_relu(0.1)", "mse", classes=4),
    "rectangular": make_network((7, 6, 5, 4), "tanh", "cross_entropy"),
    "sigmoid": make_network((7, 6, 5, 4), "sigmoid", "mse"),
    "tower": make_network((8, 8, 6, 4), "leaky_relu(0.1)", "mse", kind="tower"),
    "convolutional": make_convolutional(),
    "spiking": make_spiking(),
    "recurrent": make_recurrent(),
}
"""What every rule is tried on, as far as it supports them."""


def random_params(
    net: Network, seed: int, *, scheme: str = "orthogonal", bias: float = 0.5
) -> Params:
    """Orthogonal or Gaussian (variance 2 / (fan_in + fan_out)) weights, and Gaussian biases."""
    params = {}
    for name, blank in net.init(Stream(seed)).items():
        stream = Stream(seed).at("test parameters", name)
        if name.endswith("bias"):
            params[name] = bias * stream.normal(blank.shape)
        else:
            rows, columns = blank.flatten(1).shape
            params[name] = (
                stream.orthogonal(rows, columns).reshape(blank.shape)
                if scheme == "orthogonal"
                else (2 / (rows + columns)) ** 0.5 * stream.normal(blank.shape)
            )
    return params


def random_batch(net: Network, size: int, seed: int) -> Batch:
    """Gaussian examples with one-hot targets."""
    stream = Stream(seed).at("test batch")
    x = stream.at("x").normal((size, *net.in_shape))
    labels = (net.classes * stream.at("y").uniform((size,))).long()
    return Batch(x, torch.nn.functional.one_hot(labels, net.classes).double())


def synthetic(net: Network, count: int, name: str) -> Split:
    """Gaussian examples that a fixed linear map labels."""
    stream = Stream(0).at("synthetic")
    x = stream.at(name).normal((count, *net.in_shape))
    teacher = stream.at("teacher").normal((*net.in_shape, net.classes))
    return Split(x, (x.flatten(1) @ teacher.flatten(0, -2)).argmax(1))
