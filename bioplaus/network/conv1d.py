"""Convolution along a signal: vectors, or images of one row, (channels, 1, length)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, einsum

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation, Identity
from bioplaus.network.layer import Init, Layer, Params, Residuals, Shape
from bioplaus.numerics.random_streams import Stream

_IDENTITY = Identity()


@dataclass(frozen=True)
class Conv1d(Layer):
    """Cross-correlation along a signal with a kernel (channels, channels below, k), and a bias
    per channel.

    A vector (length,) is a signal of one channel; what comes out is (channels, 1, places).
    """

    below: Shape
    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    activation: Activation = _IDENTITY
    bias: bool = True
    kind: ClassVar[str] = "conv1d"

    def __post_init__(self) -> None:
        if len(self.below) != 1 and (len(self.below) != 3 or self.below[1] != 1):
            raise ConfigError(
                f"a conv1d layer reads (length,) or (channels, 1, length), but its input has the "
                f"shape {self.below}"
            )
        if self.kernel < 1 or self.stride < 1 or not 0 <= self.padding < self.kernel:
            raise ConfigError(
                f"kernel {self.kernel}, stride {self.stride} and padding {self.padding} make no "
                "window: kernel and stride are positive, and padding is smaller than the kernel"
            )
        if self._padded < self.kernel:
            raise ConfigError(
                f"a kernel of {self.kernel} does not fit on a signal of {self._length}"
            )

    @property
    def channels_below(self) -> int:
        """Of the signal."""
        return self.below[0] if len(self.below) == 3 else 1

    @property
    def _length(self) -> int:
        return self.below[-1]

    @property
    def _padded(self) -> int:
        return self._length + 2 * self.padding

    @property
    def places(self) -> int:
        """Of the kernel on the signal."""
        return (self._padded - self.kernel) // self.stride + 1

    @property
    def in_shape(self) -> Shape:
        return self.below

    @property
    def out_shape(self) -> Shape:
        return (self.channels, 1, self.places)

    def multiply_adds(self) -> int:
        return prod(self.out_shape) * self.channels_below * self.kernel

    def init(self, stream: Stream, init: Init) -> Params:
        """Fans are a kernel's: channels times k on either side."""
        patch = self.channels_below * self.kernel
        matrix = init.weight(
            stream.at("weight"), self.channels, patch, (patch, self.channels * self.kernel)
        )
        weight = matrix.reshape(self.channels, self.channels_below, self.kernel)
        return {"weight": weight} | ({"bias": weight.new_zeros(self.channels)} if self.bias else {})

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        a = einsum("ncpk,ock->nop", self._patches(h), p["weight"])
        return (a + p["bias"][:, None] if self.bias else a)[:, :, None], (h,)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        """Each place's patch W^T d, added where patches overlap."""
        patches = einsum("nop,ock->nckp", d.squeeze(2), p["weight"])
        summed = sum(self._at(patches[:, :, j], j) for j in range(self.kernel))
        assert isinstance(summed, Tensor)
        signal = summed[..., self.padding : self.padding + self._length]
        return signal.reshape(len(d), *self.below)

    def _at(self, values: Tensor, first: int) -> Tensor:
        """A value for each place, (N, C, P), on the padded signal from `first` on."""
        spread = F.pad(values[..., None], (0, self.stride - 1)).flatten(-2)
        return F.pad(spread, (first, self._padded - first - spread.shape[-1]))

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        """Sums over places, means over the batch."""
        (h,) = residuals
        d = d.squeeze(2) / len(d)
        grad = {"weight": einsum("nop,ncpk->ock", d, self._patches(h))}
        return grad | ({"bias": d.sum((0, 2))} if self.bias else {})

    def matrix(self, p: Params) -> Tensor | None:
        return p["weight"].flatten(1)

    def design(self, residuals: Residuals, d: Tensor) -> tuple[Tensor, Tensor] | None:
        """One row for each example and place: its patch."""
        (h,) = residuals
        rows = self._patches(h).movedim(2, 1).flatten(2).flatten(0, 1)
        return rows, d.squeeze(2).movedim(1, 2).flatten(0, 1)

    def _patches(self, h: Tensor) -> Tensor:
        """What the kernel reads at each place, (N, C, P, k)."""
        signal = h.reshape(len(h), self.channels_below, self._length)
        padded = F.pad(signal, (self.padding, self.padding))
        last = self.stride * (self.places - 1) + 1
        shifted = [padded[..., j : j + last : self.stride] for j in range(self.kernel)]
        return torch.stack(shifted, -1)  # no `unfold`, whose derivative vmap cannot batch
