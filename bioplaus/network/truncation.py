"""Layers that leave extreme values out, so that a few changed pixels cannot decide.

    clip     h with its k largest and k smallest values at 0
    simple   clip of v * h, with a weight v for each value, 1 at the start
    tip      W h + b, where each unit leaves its k largest and k smallest products w_j h_j out

Beliaev, Delgosha, Hassani and Pedarsani 2022, arXiv:2201.09369, and its code robust-l0 ("simple" is
what its experiments use). Whatever k of n inputs are changed to, tip's pre-activation, without
bias, stays between the sums of the n - 2k smallest and of the n - 2k largest products of the clean
input. Errors go down, and weights learn, through what was kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation, Identity
from bioplaus.network.layer import Init, Layer, Params, Residuals, Shape
from bioplaus.numerics.random_streams import Stream

_IDENTITY = Identity()
_NO_INVERSE = "it leaves values out, and so has no inverse"


def kept(values: Tensor, k: int) -> Tensor:
    """1 for all but the k largest and the k smallest of the last axis, 0 for those; of equal
    values the first counts as the smaller."""
    ranks = values.argsort(dim=-1, stable=True).argsort(dim=-1, stable=True)
    return ((ranks >= k) & (ranks < values.shape[-1] - k)).to(values.dtype)


class _Truncating(Layer):
    linear: ClassVar[bool] = False

    def why_not_invertible(self) -> str | None:
        return _NO_INVERSE

    def why_not_reversible(self) -> str | None:
        return _NO_INVERSE


@dataclass(frozen=True)
class Truncate(_Truncating):
    """Clip: of each example's values the k largest and k smallest at 0; with a `window`, simple.

    The window's weights are (n, 1), one for each of the n values.
    """

    below: Shape
    k: int
    window: bool = False
    activation: Activation = _IDENTITY
    kind: ClassVar[str] = "truncate"

    def __post_init__(self) -> None:
        _check(self.k, prod(self.below), "values")

    @property
    def in_shape(self) -> Shape:
        return self.below

    @property
    def out_shape(self) -> Shape:
        return self.below

    def multiply_adds(self) -> int:
        return prod(self.below) if self.window else 0

    def init(self, stream: Stream, init: Init) -> Params:
        """Ones, whatever `init` says."""
        if not self.window:
            return {}
        return {"weight": torch.ones(prod(self.below), 1, dtype=torch.float64)}

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        flat = h.flatten(1)
        weighted = flat * p["weight"][:, 0] if self.window else flat
        mask = kept(weighted, self.k)
        return (weighted * mask).reshape(h.shape), (flat, mask)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        _, mask = residuals
        below = d.flatten(1) * mask
        if self.window:
            below = below * p["weight"][:, 0]
        error: Tensor = below.reshape(d.shape)
        return error

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        if not self.window:
            return {}
        flat, mask = residuals
        return {"weight": (d.flatten(1) * mask * flat).mean(0)[:, None]}


@dataclass(frozen=True)
class TruncatedDense(_Truncating):
    """Tip: all-to-all weights (n_out, n_in), each unit without its extreme products.

    Products are held one by one, n_out n_in numbers for each example.
    """

    n_in: int
    n_out: int
    k: int
    activation: Activation = _IDENTITY
    bias: bool = True
    kind: ClassVar[str] = "truncated dense"

    def __post_init__(self) -> None:
        _check(self.k, self.n_in, "products")

    @property
    def in_shape(self) -> Shape:
        return (self.n_in,)

    @property
    def out_shape(self) -> Shape:
        return (self.n_out,)

    def multiply_adds(self) -> int:
        return self.n_out * self.n_in

    def init(self, stream: Stream, init: Init) -> Params:
        weight = init.weight(stream.at("weight"), self.n_out, self.n_in)
        return {"weight": weight} | ({"bias": weight.new_zeros(self.n_out)} if self.bias else {})

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        products = h[:, None, :] * p["weight"]
        mask = kept(products, self.k)
        a = (products * mask).sum(-1)
        return (a + p["bias"] if self.bias else a), (h, mask)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        _, mask = residuals
        below: Tensor = (d[:, :, None] * mask * p["weight"]).sum(1)
        return below

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        h, mask = residuals
        grad = {"weight": (d[:, :, None] * mask * h[:, None, :]).mean(0)}
        return grad | ({"bias": d.mean(0)} if self.bias else {})

    def matrix(self, p: Params) -> Tensor | None:
        return p["weight"]


def _check(k: int, count: int, what: str) -> None:
    if k < 0 or 2 * k >= count:
        raise ConfigError(
            f"of {count} {what} the {k} largest and the {k} smallest leave none: take fewer than "
            f"{-(-count // 2)}"
        )
