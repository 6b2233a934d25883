"""Dropout as a layer: silent units are drawn by the harness, and handed in for one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.layer import Params, Residuals, Shape
from bioplaus.network.pooling import Fixed


@dataclass(frozen=True)
class Dropout(Fixed):
    """Each unit of each example is silent with probability `rate`, the others grow by
    1 / (1 - rate) (Srivastava et al. 2014, in torch's form).

    Given p["uniform"], uniform on (0, 1), units below `rate` are silent, on the way up and
    for the error on its way down; without it, as in a prediction, all pass.
    """

    below: Shape
    rate: float = 0.5
    kind: ClassVar[str] = "dropout"

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ConfigError(f"a dropout layer's rate is at least 0 and below 1, not {self.rate}")

    @property
    def in_shape(self) -> Shape:
        return self.below

    @property
    def out_shape(self) -> Shape:
        return self.below

    def uniform_shape(self, batch_size: int) -> Shape | None:
        return (batch_size, *self.below)

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        if "uniform" not in p:
            return h, (None,)
        mask = (p["uniform"] >= self.rate).to(h.dtype) / (1 - self.rate)
        return h * mask, (mask,)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        (mask,) = residuals
        return d if mask is None else d * mask
