"""Nodes of a graph without weights: sums, products, and parts of values.

One that has several inputs reads them one after the other, as one vector (see `Wire`).
Each may have an activation, that of its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation, Identity
from bioplaus.network.layer import Params, Residuals, Shape
from bioplaus.network.pooling import Fixed

_IDENTITY = Identity()


class _Combining(Fixed):
    branches: ClassVar[bool] = True


@dataclass(frozen=True)
class Add(_Combining):
    """The sum of values of one shape; of one value, the value itself, under an activation."""

    of: Shape
    terms: int = 2
    activation: Activation = _IDENTITY
    kind: ClassVar[str] = "add"

    @property
    def in_shape(self) -> Shape:
        return self.of if self.terms == 1 else (self.terms * prod(self.of),)

    @property
    def out_shape(self) -> Shape:
        return self.of

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        first, *others = h.chunk(self.terms, dim=1) if self.terms > 1 else [h]
        for term in others:
            first = first + term
        return first.reshape(-1, *self.of), ()

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        return torch.cat([d.flatten(1)] * self.terms, dim=1) if self.terms > 1 else d


@dataclass(frozen=True)
class Multiply(_Combining):
    """The product of two values of one shape, unit by unit."""

    of: Shape
    activation: Activation = _IDENTITY
    kind: ClassVar[str] = "multiply"

    @property
    def in_shape(self) -> Shape:
        return (2 * prod(self.of),)

    @property
    def out_shape(self) -> Shape:
        return self.of

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        u, v = h.chunk(2, dim=1)
        return (u * v).reshape(-1, *self.of), (u, v)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        u, v = residuals
        d = d.flatten(1)
        return torch.cat([d * v, d * u], dim=1)


@dataclass(frozen=True)
class Concat(_Combining):
    """Values side by side, on the first axis of an example: units, or channels."""

    of: tuple[Shape, ...]
    activation: Activation = _IDENTITY
    kind: ClassVar[str] = "concat"

    @property
    def in_shape(self) -> Shape:
        return self.of[0] if len(self.of) == 1 else (sum(map(prod, self.of)),)

    @property
    def out_shape(self) -> Shape:
        return (sum(shape[0] for shape in self.of), *self.of[0][1:])

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        return h.reshape(-1, *self.out_shape), ()  # on the first axis, one lies behind the other

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        return d.reshape(-1, *self.in_shape)


@dataclass(frozen=True)
class Slice(_Combining):
    """Units, or channels, from `start` to before `stop`."""

    of: Shape
    start: int
    stop: int
    activation: Activation = _IDENTITY
    kind: ClassVar[str] = "slice"

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= self.of[0]:
            raise ConfigError(
                f"start {self.start} and stop {self.stop} are no part of an input of the shape "
                f"{self.of}: 0 <= start < stop <= {self.of[0]}"
            )

    @property
    def in_shape(self) -> Shape:
        return self.of

    @property
    def out_shape(self) -> Shape:
        return (self.stop - self.start, *self.of[1:])

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        return h[:, self.start : self.stop], ()

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        others = [0, 0] * (len(self.of) - 1)
        return F.pad(d, (*others, self.start, self.of[0] - self.stop))


def added(shapes: Sequence[Shape], activation: Activation = _IDENTITY) -> Add:
    """The sum of values of these shapes; ConfigError where they are not one."""
    return Add(_one_shape(shapes, "added"), len(shapes), activation)


def multiplied(shapes: Sequence[Shape], activation: Activation = _IDENTITY) -> Multiply:
    """The product of two values of these shapes; ConfigError where they are not one."""
    if len(shapes) != 2:
        raise ConfigError(
            f"it multiplies two inputs, not {len(shapes)}: multiply two of them in a node before it"
        )
    return Multiply(_one_shape(shapes, "multiplied"), activation)


def joined(shapes: Sequence[Shape], activation: Activation = _IDENTITY) -> Concat:
    """Values of these shapes side by side; ConfigError where they differ behind the first axis."""
    if len({shape[1:] for shape in shapes}) != 1:
        raise ConfigError(
            f"its inputs have the shapes {_listed(shapes)}: those that stand side by side may "
            "differ in their first axis alone"
        )
    return Concat(tuple(shapes), activation)


def _one_shape(shapes: Sequence[Shape], what: str) -> Shape:
    if len(set(shapes)) != 1:
        raise ConfigError(
            f"its inputs have the shapes {_listed(shapes)}: those that are {what} have one shape"
        )
    return shapes[0]


def _listed(shapes: Sequence[Shape]) -> str:
    return " and ".join(map(str, shapes))
