"""Layers on images (channels, height, width): convolution, pooling, and the way to vectors."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation, Identity
from bioplaus.network.layer import Init, Layer, Params, Residuals, Shape, Solver
from bioplaus.numerics.conv_operators import conv, conv_adjoint, conv_weight_grad
from bioplaus.numerics.linalg import solve_rows
from bioplaus.numerics.random_streams import Stream

_IDENTITY = Identity()


def windows(kind: str, below: Shape, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Places of a square window on an image; ConfigError where there is none."""
    if len(below) != 3:
        raise ConfigError(
            f"a {kind} layer reads (channels, height, width), but its input has the shape {below}: "
            "put it below the layers that give vectors"
        )
    if kernel < 1 or stride < 1 or not 0 <= padding < kernel:
        raise ConfigError(
            f"kernel {kernel}, stride {stride} and padding {padding} make no window: kernel and "
            "stride are positive, and padding is smaller than the kernel"
        )
    _, height, width = below
    if min(height, width) + 2 * padding < kernel:
        padded = f", padded by {padding}" if padding else ""
        raise ConfigError(
            f"a {kernel} x {kernel} kernel does not fit on an input of {height} x {width}{padded}: "
            "make it smaller, or pad more"
        )
    return (
        (height + 2 * padding - kernel) // stride + 1,
        (width + 2 * padding - kernel) // stride + 1,
    )


@dataclass(frozen=True)
class Conv2d(Layer):
    """Cross-correlation with a kernel (channels, channels read, k, k), and a bias per channel.

    On unfolded patches the kernel is a (channels, channels read x k x k) matrix. Where it
    is square, errors and targets come down through its inverse, place by place, and add
    where patches overlap (GAIT-prop, section 2.2): channels = C k^2. `reads` limits the
    layer to the first channels of its input, as in Dalm et al. 2021: the others are
    auxiliary, so that such layers can be stacked without growing by k^2 each.
    """

    below: Shape
    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    activation: Activation = _IDENTITY
    bias: bool = True
    reads: int | None = None
    """None for all channels of the input."""
    kind: ClassVar[str] = "conv2d"
    one_by_one: ClassVar[bool] = True

    def __post_init__(self) -> None:
        windows(self.kind, self.below, self.kernel, self.stride, self.padding)
        if not 1 <= self.channels_read <= self.below[0]:
            raise ConfigError(
                f"a conv2d layer cannot read {self.channels_read} of {self.below[0]} channels"
            )

    @property
    def channels_read(self) -> int:
        """How many of the input's channels, the first ones, have outgoing weights."""
        return self.below[0] if self.reads is None else self.reads

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.below[1], self.below[2]

    @property
    def patch(self) -> int:
        """Inputs that one output reads."""
        return self.channels_read * self.kernel**2

    @property
    def in_shape(self) -> Shape:
        return self.below

    @property
    def out_shape(self) -> Shape:
        places = windows(self.kind, self.below, self.kernel, self.stride, self.padding)
        return (self.channels, *places)

    def multiply_adds(self) -> int:
        return prod(self.out_shape) * self.patch

    def init(self, stream: Stream, init: Init) -> Params:
        """Fans are a kernel's: channels times k^2 on either side."""
        fans = self.patch, self.channels * self.kernel**2
        weight = self._kernel(init.weight(stream.at("weight"), self.channels, self.patch, fans))
        return {"weight": weight} | ({"bias": weight.new_zeros(self.channels)} if self.bias else {})

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        a = conv(self.read(h), p["weight"], self.stride, self.padding)
        return (a + _on_channels(p["bias"]) if self.bias else a), (h,)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        return self._pad(conv_adjoint(d, p["weight"], self.stride, self.padding, self.size))

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        """Sums over places, means over the batch."""
        (h,) = residuals
        total = conv_weight_grad(self.read(h), d, self.kernel, self.stride, self.padding)
        grad = {"weight": total / d.shape[0]}
        return grad | ({"bias": d.sum((0, 2, 3)) / d.shape[0]} if self.bias else {})

    def why_not_invertible(self) -> str | None:
        if self.channels != self.patch:
            return (
                f"its kernel is {self.channels} x {self.patch} on unfolded patches, not square: "
                f"it takes {self.channels_read} x {self.kernel}^2 = {self.patch} channels"
            )
        return None

    def solve(
        self, p: Params, residuals: Residuals, d: Tensor, solver: Solver = solve_rows
    ) -> Tensor:
        """Every place's patch W^-1 d, added where patches overlap."""
        inverse = self._inverse_transposed(p, solver)
        return self._pad(conv_adjoint(d, inverse, self.stride, self.padding, self.size))

    def preimage(self, p: Params, residuals: Residuals, a: Tensor) -> Tensor:
        """As `solve`, less the excess activity of pixels that several patches reconstruct.

        With the layer's own pre-activation for a, it is the layer's own input.
        """
        (h,) = residuals
        drive = a - _on_channels(p["bias"]) if self.bias else a
        inverse = self._inverse_transposed(p)
        part = conv_adjoint(drive, inverse, self.stride, self.padding, self.size)
        return self.write(h, part - (self.coverage(h) - 1) * self.read(h))

    def coverage(self, like: Tensor) -> Tensor:
        """How many patches hold each pixel, (1, channels read, H, W)."""
        ones = torch.ones(1, self.channels_read, *self.size, dtype=like.dtype, device=like.device)
        geometry = {"kernel_size": self.kernel, "padding": self.padding, "stride": self.stride}
        return F.fold(F.unfold(ones, **geometry), self.size, **geometry)

    def matrix(self, p: Params) -> Tensor | None:
        return p["weight"].flatten(1)

    def design(self, residuals: Residuals, d: Tensor) -> tuple[Tensor, Tensor] | None:
        """One row for each example and place: its unfolded patch."""
        (h,) = residuals
        patches = F.unfold(self.read(h), self.kernel, padding=self.padding, stride=self.stride)
        return patches.movedim(1, -1).flatten(0, 1), d.flatten(2).movedim(1, -1).flatten(0, 1)

    def read(self, h: Tensor) -> Tensor:
        return h[..., : self.channels_read, :, :]

    def write(self, h: Tensor, part: Tensor) -> Tensor:
        if self.channels_read == self.below[0]:
            return part
        return torch.cat([part, h[..., self.channels_read :, :, :]], dim=-3)

    def reverse(self, activation: Activation) -> Layer:
        return ConvTranspose2d(self, activation)

    def why_not_reversible(self) -> str | None:
        return None

    def _inverse_transposed(self, p: Params, solver: Solver = solve_rows) -> Tensor:
        """The kernel whose matrix is W^-T: its adjoint takes every place's d to W^-1 d."""
        matrix = p["weight"].flatten(1)
        one = torch.eye(self.channels, dtype=matrix.dtype, device=matrix.device)
        return self._kernel(solver(matrix, one))

    def _kernel(self, matrix: Tensor) -> Tensor:
        return matrix.reshape(-1, self.channels_read, self.kernel, self.kernel)

    def _pad(self, e: Tensor) -> Tensor:
        unread = self.below[0] - self.channels_read
        return F.pad(e, (0, 0, 0, 0, 0, unread)) if unread else e


@dataclass(frozen=True)
class ConvTranspose2d(Layer):
    """From a convolution's output to what it reads, with a kernel shaped like its own."""

    of: Conv2d
    activation: Activation = _IDENTITY
    bias: bool = True
    kind: ClassVar[str] = "conv_transpose2d"
    one_by_one: ClassVar[bool] = True

    @property
    def in_shape(self) -> Shape:
        return self.of.out_shape

    @property
    def out_shape(self) -> Shape:
        return (self.of.channels_read, *self.of.size)

    def multiply_adds(self) -> int:
        return self.of.multiply_adds()

    def init(self, stream: Stream, init: Init) -> Params:
        of = self.of
        fans = of.channels * of.kernel**2, of.patch
        matrix = init.weight(stream.at("weight"), of.channels, of.patch, fans)
        weight = matrix.reshape(of.channels, of.channels_read, of.kernel, of.kernel)
        bias = {"bias": weight.new_zeros(of.channels_read)} if self.bias else {}
        return {"weight": weight} | bias

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        a = conv_adjoint(h, p["weight"], self.of.stride, self.of.padding, self.of.size)
        return (a + _on_channels(p["bias"]) if self.bias else a), (h,)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        return conv(d, p["weight"], self.of.stride, self.of.padding)

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        (h,) = residuals
        total = conv_weight_grad(d, h, self.of.kernel, self.of.stride, self.of.padding)
        grad = {"weight": total / d.shape[0]}
        return grad | ({"bias": d.sum((0, 2, 3)) / d.shape[0]} if self.bias else {})

    def matrix(self, p: Params) -> Tensor | None:
        return p["weight"].flatten(1).T


def _on_channels(bias: Tensor) -> Tensor:
    return bias[:, None, None]
