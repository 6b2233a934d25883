"""One's own `nn.Sequential` as layers of the layer algebra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

from torch import nn

from bioplaus.activations import Activation, LeakyRelu, Relu, Sigmoid, Tanh
from bioplaus.errors import ConfigError, ModelError
from bioplaus.layers import Dense, Layer, Shape
from bioplaus.pooling import AvgPool2d, Flatten, MaxPool2d
from bioplaus.spatial import Conv2d

_ACTIVATIONS: dict[type[nn.Module], type[Activation]] = {
    nn.ReLU: Relu,
    nn.Tanh: Tanh,
    nn.Sigmoid: Sigmoid,
}
_ACCEPTED = (
    "Linear, Conv2d, MaxPool2d, AvgPool2d, Flatten, LeakyReLU, ReLU, Tanh, Sigmoid and Identity"
)


def read_modules(
    model: nn.Sequential, shape: Shape
) -> tuple[tuple[Layer, ...], dict[str, nn.Parameter]]:
    """The model on examples of that shape: layers, and its parameters by the network's names.

    A model that begins with Linear or Flatten reads its examples as vectors. Raises
    ModelError naming the module that has no place.
    """
    if not isinstance(model, nn.Sequential):
        raise ModelError(f"the model must be an nn.Sequential, not {type(model).__name__}")
    layers: list[Layer] = []
    parameters: dict[str, nn.Parameter] = {}
    open_for_activation = False
    for position, module in model.named_children():
        where = f"module {position} ({type(module).__name__})"
        if isinstance(module, nn.Identity):
            continue
        if type(module) in _LAYERS:
            try:
                layer = _LAYERS[type(module)](module, shape, first=not layers)
            except ConfigError as error:
                raise ModelError(f"{where}: {error}") from None
            shape = layer.out_shape
            if isinstance(module, nn.Flatten) and not layers:
                continue  # the examples are flattened before they reach the network
            layers.append(layer)
            parameters |= {f"{len(layers)}.{name}": p for name, p in module.named_parameters()}
            open_for_activation = isinstance(module, nn.Linear | nn.Conv2d)
        else:
            activation = _activation(module, where)
            if not open_for_activation:
                raise ModelError(
                    f"{where}: an activation must follow a Linear or Conv2d, and one is enough"
                )
            layers[-1] = replace(layers[-1], activation=activation)  # type: ignore[type-var]
            open_for_activation = False
    if not parameters:
        raise ModelError("the model has no Linear or Conv2d module: there is nothing to train")
    return tuple(layers), parameters


def _linear(module: nn.Linear, shape: Shape, first: bool) -> Layer:
    if first and prod(shape) != module.in_features:
        raise ConfigError(
            f"it reads {module.in_features} inputs, but an example has the shape {shape}"
        )
    if not first and len(shape) != 1:
        raise ConfigError(f"it reads a vector, but gets the shape {shape}: put a Flatten before it")
    return Dense(module.in_features, module.out_features, bias=module.bias is not None)


def _flatten(module: nn.Flatten, shape: Shape, first: bool) -> Layer:
    if module.start_dim != 1 or module.end_dim not in (-1, len(shape)):
        raise ConfigError("Flatten is taken from axis 1 to the last")
    return Flatten(shape)


def _conv(module: nn.Conv2d, shape: Shape, first: bool) -> Layer:
    _plain(module, groups=1, dilation=1, padding_mode="zeros")
    if len(shape) == 3 and shape[0] != module.in_channels:
        raise ConfigError(f"it reads {module.in_channels} channels, but gets the shape {shape}")
    return Conv2d(
        shape,
        module.out_channels,
        _square(module, "kernel_size"),
        _square(module, "stride"),
        _square(module, "padding"),
        bias=module.bias is not None,
    )


def _max_pool(module: nn.MaxPool2d, shape: Shape, first: bool) -> Layer:
    _plain(module, padding=0, dilation=1, ceil_mode=False, return_indices=False)
    return MaxPool2d(shape, _square(module, "kernel_size"), _square(module, "stride"))


def _avg_pool(module: nn.AvgPool2d, shape: Shape, first: bool) -> Layer:
    _plain(module, padding=0, ceil_mode=False, divisor_override=None)
    return AvgPool2d(shape, _square(module, "kernel_size"), _square(module, "stride"))


def _plain(module: nn.Module, **only: Any) -> None:
    """ConfigError where a setting is not the only one that the layer algebra has."""
    for name, value in only.items():
        given = getattr(module, name)
        if given not in (value, (value, value)):
            raise ConfigError(f"{name}={given!r} is not supported, only {name}={value!r}")


def _square(module: nn.Module, name: str) -> int:
    """A setting that must be one number for both axes."""
    given = getattr(module, name)
    pair = given if isinstance(given, tuple) else (given, given)
    if not isinstance(pair[0], int) or pair[0] != pair[1]:
        raise ConfigError(f"{name}={given!r} is not supported, only one number for both axes")
    return pair[0]


_LAYERS: dict[type[nn.Module], Callable[..., Layer]] = {
    nn.Linear: _linear,
    nn.Flatten: _flatten,
    nn.Conv2d: _conv,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
}


def _activation(module: nn.Module, where: str) -> Activation:
    if isinstance(module, nn.LeakyReLU):
        try:
            return LeakyRelu(module.negative_slope)
        except ConfigError as error:
            raise ModelError(f"{where}: {error}") from None
    if type(module) not in _ACTIVATIONS:
        raise ModelError(f"{where}: no learning rule knows this module; there are {_ACCEPTED}")
    return _ACTIVATIONS[type(module)]()
