"""Layers and networks on images."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bioplaus.network.activations import Identity, LeakyRelu, Tanh
from bioplaus.network.conv import Conv2d, ConvTranspose2d
from bioplaus.network.layer import Dense, Init, Layer, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.pooling import AvgPool2d, Flatten, MaxPool2d, Unflatten
from bioplaus.numerics.random_streams import Stream

GEOMETRIES = [
    (1, 1, 0),
    (3, 1, 0),
    (3, 1, 1),
    (3, 2, 0),
    (3, 2, 1),
    (2, 3, 0),
    (4, 3, 3),
    (5, 1, 2),
]
"""Kernel, stride and padding; on 7 x 6 some leave a border that no window covers."""
SIZE = (7, 6)


def normal(seed: int, name: str, *shape: int) -> Tensor:
    return Stream(seed).at("test", name).normal(shape)


def random_like(params: Params, seed: int) -> Params:
    return {k: 0.4 * normal(seed, k, *v.shape) for k, v in params.items()}


def conv_layer(kernel: int, stride: int, padding: int, **options: Any) -> Conv2d:
    return Conv2d((3, *SIZE), 4, kernel, stride, padding, **options)


LAYERS: dict[str, Layer] = {
    **{f"conv {k}/{s}/{p}": conv_layer(k, s, p) for k, s, p in GEOMETRIES},
    **{f"up {k}/{s}/{p}": ConvTranspose2d(conv_layer(k, s, p)) for k, s, p in GEOMETRIES},
    "conv reads 2": conv_layer(3, 1, 1, reads=2),
    "conv no bias": conv_layer(3, 2, 1, bias=False),
    "up reads 2": ConvTranspose2d(conv_layer(3, 2, 0, reads=2)),
    **{f"max {k}/{s}": MaxPool2d((3, *SIZE), k, s) for k, s in [(2, None), (3, 2), (2, 3)]},
    **{f"avg {k}/{s}": AvgPool2d((3, *SIZE), k, s) for k, s in [(2, None), (3, 2), (2, 3)]},
    "flatten": Flatten((3, *SIZE)),
    "unflatten": Unflatten((3, *SIZE)),
}


def layer_case(name: str, seed: int, size: int = 4) -> tuple[Layer, Params, Tensor, Tensor]:
    """A layer with random parameters, an input and errors at its output."""
    layer = LAYERS[name]
    p = random_like(layer.init(Stream(seed), Init()), seed)
    h = normal(seed, "h", size, *layer.in_shape)
    return layer, p, h, normal(seed, "d", size, *layer.out_shape)


def lenet(loss: str, top: str, pool: type[MaxPool2d] | type[AvgPool2d], seed: int) -> Network:
    """Two convolutions, one strided and padded, pooling, flatten and two dense layers."""
    hidden = Tanh() if seed % 2 else LeakyRelu(0.1)
    layers: list[Layer] = [Conv2d((2, 9, 8), 3, 3, 1, 1, hidden)]
    layers.append(pool(layers[-1].out_shape, 2))
    layers.append(Conv2d(layers[-1].out_shape, 4, 2, 2 if seed % 3 else 1, 1, hidden))
    layers.append(pool(layers[-1].out_shape, 2, 1))
    layers.append(Flatten(layers[-1].out_shape))
    layers.append(Dense(layers[-1].out_shape[0], 7, hidden))
    layers.append(Dense(7, 5, Identity() if top == "linear" else Tanh()))
    return Network(tuple(layers), get_loss(loss), classes=4)


def params_of(net: Network, seed: int) -> Params:
    return random_like(net.init(Stream(seed)), seed)
