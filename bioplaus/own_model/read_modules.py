"""One's own `nn.Sequential` as layers of the layer algebra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

from torch import nn

from bioplaus.errors import ConfigError, ModelError
from bioplaus.network.activations import Activation, LeakyRelu, Relu, Sigmoid, Tanh
from bioplaus.network.batch_norm import MODULES, PARAMETERS, BatchNorm
from bioplaus.network.conv import Conv2d
from bioplaus.network.dropout import Dropout
from bioplaus.network.layer import Dense, Layer, Shape
from bioplaus.network.pooling import AvgPool2d, Flatten, MaxPool2d
from bioplaus.network.residual import Beside, Fork, joined
from bioplaus.nn import Residual

_ACTIVATIONS: dict[type[nn.Module], type[Activation]] = {
    nn.ReLU: Relu,
    nn.Tanh: Tanh,
    nn.Sigmoid: Sigmoid,
}
_ACCEPTED = (
    "Linear, Conv2d, MaxPool2d, AvgPool2d, Flatten, Dropout, BatchNorm1d, BatchNorm2d, "
    "bioplaus.nn.Residual, LeakyReLU, ReLU, Tanh, Sigmoid and Identity"
)


Parameters = dict[str, nn.Parameter]


def read_modules(model: nn.Sequential, shape: Shape) -> tuple[tuple[Layer, ...], Parameters]:
    """The model on examples of that shape: layers, and its parameters by the network's names.

    A model that begins with Linear or Flatten reads its examples as vectors. Raises
    ModelError naming the module that has no place.
    """
    if not isinstance(model, nn.Sequential):
        raise ModelError(f"the model must be an nn.Sequential, not {type(model).__name__}")
    reader = _Reader(shape)
    if isinstance(model, Residual):
        reader.block(model, "")
    else:
        reader.row(model, "")
    if not reader.parameters:
        raise ModelError("the model has no Linear or Conv2d module: there is nothing to train")
    return tuple(reader.layers), reader.parameters


class _Reader:
    """Takes a model apart, module by module."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        """Of one example, where the reading stands."""
        self.layers: list[Layer] = []
        self.parameters: Parameters = {}
        self._carried: list[int] = []
        """Units that are carried past the blocks around, the outermost first."""
        self._last: Layer | None = None
        """The last layer, without what is carried, as long as an activation may follow."""

    def row(self, modules: nn.Sequential, prefix: str) -> None:
        """The modules of an nn.Sequential, one after the other."""
        for position, module in modules.named_children():
            where = f"{prefix}{position}"
            if isinstance(module, nn.Identity):
                continue
            if isinstance(module, Residual):
                self.block(module, f"{where}.")
            elif type(module) is nn.Sequential:
                self.row(module, f"{where}.")
            else:
                self._module(module, f"module {where} ({type(module).__name__})")

    def block(self, block: Residual, prefix: str) -> None:
        """A residual block."""
        if not self.layers and isinstance(_first(block), nn.Linear):
            self.shape = (prod(self.shape),)
        below = self.shape
        self._append(Fork(below))
        self.shape = below
        self._carried.append(prod(below))
        self.row(block, prefix)
        self._carried.pop()
        try:
            self._append(joined(below, self.shape), open_for_activation=True)
        except ConfigError as error:
            raise ModelError(
                f"module {prefix.rstrip('.') or '(all)'} (Residual): {error}"
            ) from None

    def _module(self, module: nn.Module, where: str) -> None:
        if type(module) not in _LAYERS:
            activation = _activation(module, where)
            if self._last is None:
                raise ModelError(
                    f"{where}: an activation must follow a Linear, Conv2d, BatchNorm or Residual, "
                    "and one is enough"
                )
            active = replace(self._last, activation=activation)  # type: ignore[type-var]
            self.layers.pop()
            self._append(active)
            return
        try:
            layer = _LAYERS[type(module)](module, self.shape, first=not self.layers)
        except ConfigError as error:
            raise ModelError(f"{where}: {error}") from None
        if isinstance(module, nn.Flatten) and not self.layers:
            self.shape = layer.out_shape
            return  # the examples are flattened before they reach the network
        self._append(layer, open_for_activation=isinstance(module, _ACTIVE))
        number, norm = len(self.layers), isinstance(module, MODULES)
        for name, parameter in module.named_parameters():
            own = PARAMETERS[name] if norm else name
            self.parameters[f"{number}.{own}"] = parameter

    def _append(self, layer: Layer, open_for_activation: bool = False) -> None:
        self.shape = layer.out_shape
        self._last = layer if open_for_activation else None
        for carried in reversed(self._carried):
            layer = Beside(layer, carried)
        self.layers.append(layer)


def _first(modules: nn.Sequential) -> nn.Module | None:
    """The first module inside, however deep."""
    for module in modules:
        return _first(module) if isinstance(module, nn.Sequential) else module
    return None


def input_shape(model: nn.Sequential) -> Shape | None:
    """Of one example, where the model's first module tells."""
    first = next((m for m in model.modules() if not isinstance(m, nn.Sequential)), None)
    return (first.in_features,) if isinstance(first, nn.Linear) else None


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


def _dropout(module: nn.Dropout, shape: Shape, first: bool) -> Layer:
    return Dropout((prod(shape),) if first and len(shape) != 3 else shape, module.p)


def _norm(module: nn.BatchNorm1d | nn.BatchNorm2d, shape: Shape, first: bool) -> Layer:
    _plain(module, track_running_stats=True)
    if first and isinstance(module, nn.BatchNorm1d):
        shape = (prod(shape),)
    axes = 1 if isinstance(module, nn.BatchNorm1d) else 3
    if len(shape) != axes or shape[0] != module.num_features:
        due = "units" if axes == 1 else "channels of an image"
        raise ConfigError(f"it reads {module.num_features} {due}, but gets the shape {shape}")
    return BatchNorm(shape, module.eps, module.affine)


_ACTIVE = (nn.Linear, nn.Conv2d, *MODULES)
"""An activation may follow these."""
_LAYERS: dict[type[nn.Module], Callable[..., Layer]] = {
    nn.Dropout: _dropout,
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
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
