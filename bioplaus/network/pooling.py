"""Layers without parameters: pooling, and the reshaping between images and vectors."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation, Identity
from bioplaus.network.conv import windows
from bioplaus.network.layer import Init, Layer, Params, Residuals, Shape, Solver
from bioplaus.numerics.linalg import solve_rows
from bioplaus.numerics.random_streams import Stream

_IDENTITY = Identity()


class Fixed(Layer):
    """A linear map without parameters and without activation."""

    activation: Activation = _IDENTITY

    def init(self, stream: Stream, init: Init) -> Params:
        return {}

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        return {}


@dataclass(frozen=True)
class Pool2d(Fixed):
    """One value per window; by default windows do not overlap. A last part window is dropped."""

    below: Shape
    kernel: int
    stride: int | None = None
    """None for the kernel."""

    def __post_init__(self) -> None:
        windows(self.kind, self.below, self.kernel, self.step, self.over_edge)
        if 2 * self.over_edge > self.kernel:
            raise ConfigError(
                f"padding {self.over_edge} is more than half of a kernel of {self.kernel}: windows "
                "would be empty"
            )

    @property
    def over_edge(self) -> int:
        """By how much windows reach over each edge."""
        return 0

    @property
    def step(self) -> int:
        """Distance of neighbouring windows."""
        return self.kernel if self.stride is None else self.stride

    @property
    def in_shape(self) -> Shape:
        return self.below

    @property
    def out_shape(self) -> Shape:
        return (
            self.below[0],
            *windows(self.kind, self.below, self.kernel, self.step, self.over_edge),
        )


@dataclass(frozen=True)
class MaxPool2d(Pool2d):
    """The largest value of each window; errors return to where it stood, the first of equals.

    Windows may reach over the edge by `padding`, at most half a kernel; nothing is there.
    """

    padding: int = 0
    kind: ClassVar[str] = "max_pool2d"

    @property
    def over_edge(self) -> int:
        return self.padding

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        window = self.kernel, self.step, self.padding
        value, index = F.max_pool2d(h, *window, return_indices=True)
        return value, (h, index)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        h, index = residuals
        window = [self.kernel] * 2, [self.step] * 2, [self.padding] * 2, [1, 1]
        back: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(d, h, *window, False, index)
        return back


@dataclass(frozen=True)
class AvgPool2d(Pool2d):
    """The mean of each window; errors return to all of it in equal parts."""

    kind: ClassVar[str] = "avg_pool2d"

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        return F.avg_pool2d(h, self.kernel, self.step), (h,)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        (h,) = residuals
        window = [self.kernel] * 2, [self.step] * 2, [0, 0]
        back: Tensor = torch.ops.aten.avg_pool2d_backward(d, h, *window, False, True, None)
        return back


class Reshape(Fixed):
    """Other names for the same units: the adjoint is the inverse."""

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        return h.reshape(h.shape[0], *self.out_shape), ()

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        return d.reshape(d.shape[0], *self.in_shape)

    def why_not_invertible(self) -> str | None:
        return None

    def solve(
        self, p: Params, residuals: Residuals, d: Tensor, solver: Solver = solve_rows
    ) -> Tensor:
        return self.adjoint(p, residuals, d)

    def preimage(self, p: Params, residuals: Residuals, a: Tensor) -> Tensor:
        return self.adjoint(p, residuals, a)

    def why_not_reversible(self) -> str | None:
        return None


@dataclass(frozen=True)
class Flatten(Reshape):
    """Images as vectors, channel by channel and row by row."""

    below: Shape
    kind: ClassVar[str] = "flatten"

    @property
    def in_shape(self) -> Shape:
        return self.below

    @property
    def out_shape(self) -> Shape:
        return (prod(self.below),)

    def reverse(self, activation: Activation) -> Layer:
        """Gives the units back as they were, active already: the activation is left out."""
        return Unflatten(self.below)


@dataclass(frozen=True)
class Unflatten(Reshape):
    """Vectors as images of the shape `above`."""

    above: Shape
    kind: ClassVar[str] = "unflatten"

    @property
    def in_shape(self) -> Shape:
        return (prod(self.above),)

    @property
    def out_shape(self) -> Shape:
        return self.above

    def reverse(self, activation: Activation) -> Layer:
        return Flatten(self.above)
