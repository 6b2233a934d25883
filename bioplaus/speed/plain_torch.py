"""The plain torch loop that the harness is timed against: `nn.Sequential`, autograd, Adam."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bioplaus.errors import UnsupportedError
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.network.activations import Activation, Identity, LeakyRelu, Relu, Sigmoid, Tanh
from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense, Layer
from bioplaus.network.network import Network
from bioplaus.network.pooling import AvgPool2d, Flatten, MaxPool2d


def eager_step(
    net: Network,
    optimizer: OptimizerSpec,
    x: Tensor,
    y: Tensor,
    model: nn.Sequential | None = None,
) -> Callable[[Tensor], None]:
    """One step of backprop as one writes it in torch, given the indices of a batch.

    x (N, *in_shape), y (N, C) one-hot. Torch's defaults throughout, and the loss is not
    looked at. model: the network as torch's modules, by default a new one; UnsupportedError
    where there is none.
    """
    trained = (model or sequential(net)).to(device=x.device, dtype=x.dtype)
    adam = optimizer.build(trained.parameters(), fused=False)

    def step(index: Tensor) -> None:
        with torch.enable_grad():
            loss = net.loss.value(trained(x[index]), y[index])
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        adam.step()

    return step


def sequential(net: Network) -> nn.Sequential:
    """The network as torch's modules, with torch's own initial weights."""
    modules: list[nn.Module] = []
    for l, layer in enumerate(net.layers, start=1):
        module = _module(layer)
        activation = _activation(layer.activation) if hasattr(layer, "activation") else None
        if module is None or activation is None:
            raise UnsupportedError(f"layer {l} ({layer.kind}) is no module of torch's")
        modules += [module] if isinstance(activation, nn.Identity) else [module, activation]
    return nn.Sequential(*modules)


def _module(layer: Layer) -> nn.Module | None:
    if isinstance(layer, Dense):
        square = layer.reads == layer.n_in
        return nn.Linear(layer.n_in, layer.n_out, bias=layer.bias) if square else None
    if isinstance(layer, Conv2d):
        own = layer.channels_read == layer.in_shape[0]
        size = layer.kernel, layer.stride, layer.padding
        return nn.Conv2d(layer.in_shape[0], layer.channels, *size, bias=layer.bias) if own else None
    if isinstance(layer, MaxPool2d):
        return nn.MaxPool2d(layer.kernel, layer.step)
    if isinstance(layer, AvgPool2d):
        return nn.AvgPool2d(layer.kernel, layer.step)
    return nn.Flatten() if isinstance(layer, Flatten) else None


def _activation(activation: Activation) -> nn.Module | None:
    if isinstance(activation, LeakyRelu):
        return nn.LeakyReLU(activation.slope)
    kinds: dict[type[Activation], type[nn.Module]] = {
        Identity: nn.Identity,
        Relu: nn.ReLU,
        Tanh: nn.Tanh,
        Sigmoid: nn.Sigmoid,
    }
    kind = kinds.get(type(activation))
    return kind() if kind else None
