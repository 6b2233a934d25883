"""A layer without weights, to see that rules pass through one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from bioplaus.activations import Activation, Identity
from bioplaus.layers import Init, Layer, Params, Residuals, Shape
from bioplaus.streams import Stream


@dataclass(frozen=True)
class MaxOfPairs(Layer):
    """The larger of units 2 i and 2 i + 1."""

    n_in: int
    activation: Activation = field(default_factory=Identity)
    kind: ClassVar[str] = "max of pairs"

    @property
    def in_shape(self) -> Shape:
        return (self.n_in,)

    @property
    def out_shape(self) -> Shape:
        return (self.n_in // 2,)

    def init(self, stream: Stream, init: Init) -> Params:
        return {}

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        first, second = h[..., 0::2], h[..., 1::2]
        return torch.maximum(first, second), (first > second,)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        (first,) = residuals
        return torch.stack([d * first, d * ~first], dim=-1).flatten(-2)

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        return {}
