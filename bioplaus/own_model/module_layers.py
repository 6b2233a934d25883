"""Modules of torch that have a place in the layer algebra, and the layer that each is."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from torch import nn

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation, LeakyRelu, Relu, Sigmoid, Tanh
from bioplaus.network.batch_norm import MODULES, BatchNorm
from bioplaus.network.conv import Conv2d
from bioplaus.network.dropout import Dropout
from bioplaus.network.layer import Dense, Layer, Shape
from bioplaus.network.pooling import AvgPool2d, Flatten, MaxPool2d
from bioplaus.own_model.plain_modules import check_sizes

_ACCEPTED = (
    "Linear, Conv2d, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten, Dropout, BatchNorm1d, "
    "BatchNorm2d, bioplaus.nn.Residual, LeakyReLU, ReLU, Tanh, Sigmoid, Identity, and modules of "
    "your own made of them"
)
_HINTS: dict[type[nn.Module], str] = {
    nn.Softmax: 'leave it out: loss="cross_entropy" takes the outputs before it (logits)',
    nn.LogSoftmax: 'leave it out: loss="cross_entropy" takes the outputs before it (logits)',
    **dict.fromkeys(
        (nn.RNN, nn.LSTM, nn.GRU),
        "recurrent networks are task files: `bioplaus show digits-lstm` prints one",
    ),
    nn.ModuleList: "a list says no order of calls; use nn.Sequential",
}


def why_unknown(module: nn.Module) -> str:
    """What to do about a module that has no place."""
    hint = _HINTS.get(type(module), f"there are {_ACCEPTED}")
    return f"no learning rule knows this module; {hint}"


def _linear(module: nn.Linear, shape: Shape, first: bool) -> Layer:
    if first and prod(shape) != module.in_features:
        raise ConfigError(
            f"it reads {module.in_features} inputs, but an example has the shape {shape}"
        )
    if not first and len(shape) != 1:
        raise ConfigError(f"it reads a vector, but gets the shape {shape}: put a Flatten before it")
    if not first and shape[0] != module.in_features:
        raise ConfigError(
            f"it reads {module.in_features} inputs, but the module before it gives {shape[0]}"
        )
    check_sizes(module, weight=(module.out_features, module.in_features))
    return Dense(module.in_features, module.out_features, bias=module.bias is not None)


def _flatten(module: nn.Flatten, shape: Shape, first: bool) -> Layer:
    if module.start_dim != 1 or module.end_dim not in (-1, len(shape)):
        raise ConfigError("Flatten is taken from axis 1 to the last")
    return Flatten(shape)


def _conv(module: nn.Conv2d, shape: Shape, first: bool) -> Layer:
    _plain(module, groups=1, dilation=1, padding_mode="zeros")
    if len(shape) == 3 and shape[0] != module.in_channels:
        last = shape[2] == module.in_channels
        hint = ": are its channels last? x.permute(0, 3, 1, 2)" if last else ""
        raise ConfigError(
            f"it reads {module.in_channels} channels, but gets the shape {shape}{hint}"
        )
    kernel = _square(module, "kernel_size")
    check_sizes(module, weight=(module.out_channels, module.in_channels, kernel, kernel))
    return Conv2d(
        shape,
        module.out_channels,
        kernel,
        _square(module, "stride"),
        _square(module, "padding"),
        bias=module.bias is not None,
    )


def _max_pool(module: nn.MaxPool2d, shape: Shape, first: bool) -> Layer:
    _plain(module, dilation=1, ceil_mode=False, return_indices=False)
    kernel, stride = _square(module, "kernel_size"), _square(module, "stride")
    return MaxPool2d(shape, kernel, stride, _square(module, "padding"))


def _avg_pool(module: nn.AvgPool2d, shape: Shape, first: bool) -> Layer:
    _plain(module, padding=0, ceil_mode=False, divisor_override=None)
    return AvgPool2d(shape, _square(module, "kernel_size"), _square(module, "stride"))


def _adaptive(module: nn.AdaptiveAvgPool2d, shape: Shape, first: bool) -> Layer:
    """Where its windows are square and all of one size."""
    size = module.output_size
    rows, columns = size if isinstance(size, tuple) else (size, size)
    if len(shape) != 3:
        return AvgPool2d(shape, 1)  # which says what it reads
    kernels = {
        side / (parts or side) for side, parts in zip(shape[1:], (rows, columns), strict=True)
    }
    (kernel, *others) = kernels
    if others or kernel != int(kernel):
        raise ConfigError(
            f"an output of {rows} x {columns} has no square windows of one size on an input of "
            f"{shape[1]} x {shape[2]}"
        )
    return AvgPool2d(shape, int(kernel))


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
    if module.affine:
        check_sizes(module, weight=(module.num_features,), bias=(module.num_features,))
    return BatchNorm(shape, module.eps, module.affine)


def _leaky(module: nn.LeakyReLU) -> Activation:
    return LeakyRelu(module.negative_slope)


ACTIVE = (nn.Linear, nn.Conv2d, *MODULES)
"""An activation may follow these."""
LAYERS: dict[type[nn.Module], Callable[..., Layer]] = {
    nn.Dropout: _dropout,
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
    nn.Linear: _linear,
    nn.Flatten: _flatten,
    nn.Conv2d: _conv,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive,
}
ACTIVATIONS: dict[type[nn.Module], Callable[[Any], Activation]] = {
    nn.LeakyReLU: _leaky,
    nn.ReLU: lambda module: Relu(),
    nn.Tanh: lambda module: Tanh(),
    nn.Sigmoid: lambda module: Sigmoid(),
}
KNOWN: dict[type[nn.Module], tuple[str, ...]] = {
    kind: ("weight", "bias") if kind in ACTIVE else ()
    for kind in (*LAYERS, *ACTIVATIONS, nn.Identity)
}
"""Modules that have a place, with the names of their parameters."""
