"""Residual blocks, h + F(h), as layers that every layer-by-layer rule can take apart.

A block's input goes two ways: one copy is carried past the block, the other through its
layers. Network layers are then maps of the pair (carried, in work), as vectors:

    Fork      h               ->  (h, h)               adjoint: the sum of both errors
    Beside    (s, u)          ->  (s, f(W u + b))      adjoint: (e_s, W^T d), or B d for B in
                                                       the place of W^T
    Join      (s, u)          ->  s + u                adjoint: (d, d)

So a rule's own way back goes through every layer of a block, and its error along the skip
is carried by no weights at all: nothing here knows a transpose that the rule does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation, Identity
from bioplaus.network.layer import Init, Layer, Params, Residuals, Shape
from bioplaus.network.pooling import Fixed
from bioplaus.numerics.random_streams import Stream

_NO_INVERSE = "a residual block's layers have no inverse one by one"


@dataclass(frozen=True)
class Fork(Fixed):
    """(h, h), as one vector."""

    below: Shape
    kind: ClassVar[str] = "fork"

    @property
    def in_shape(self) -> Shape:
        return self.below

    @property
    def out_shape(self) -> Shape:
        return (2 * prod(self.below),)

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        return torch.cat([h.flatten(1)] * 2, dim=1), ()

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        carried, worked = d.chunk(2, dim=1)
        return (carried + worked).reshape(-1, *self.below)

    def why_not_invertible(self) -> str | None:
        return _NO_INVERSE

    def why_not_reversible(self) -> str | None:
        return _NO_INVERSE


@dataclass(frozen=True)
class Join(Fixed):
    """s + u, under an activation."""

    above: Shape
    activation: Activation = field(default_factory=Identity)
    kind: ClassVar[str] = "join"

    @property
    def in_shape(self) -> Shape:
        return (2 * prod(self.above),)

    @property
    def out_shape(self) -> Shape:
        return self.above

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        carried, worked = h.chunk(2, dim=1)
        return (carried + worked).reshape(-1, *self.above), ()

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        return torch.cat([d.flatten(1)] * 2, dim=1)

    def why_not_invertible(self) -> str | None:
        return _NO_INVERSE

    def why_not_reversible(self) -> str | None:
        return _NO_INVERSE


@dataclass(frozen=True)
class BesideActivation(Activation):
    """The identity on the first `carried` units, and another activation on the rest."""

    inner: Activation
    carried: int
    name: ClassVar[str] = "beside"

    def __post_init__(self) -> None:
        object.__setattr__(self, "zero_at_zero", self.inner.zero_at_zero)

    def __call__(self, a: Tensor) -> Tensor:
        return torch.cat([a[..., : self.carried], self.inner(a[..., self.carried :])], dim=-1)

    def slope_at(self, a: Tensor) -> Tensor:
        kept, worked = a[..., : self.carried], a[..., self.carried :]
        return torch.cat([torch.ones_like(kept), self.inner.slope_at(worked)], dim=-1)

    def __str__(self) -> str:
        return str(self.inner)


@dataclass(frozen=True)
class Beside(Layer):
    """A layer on the part in work, with `carried` units beside it that pass as they are."""

    inner: Layer
    carried: int
    kind: ClassVar[str] = "residual"

    @property
    def one_by_one(self) -> bool:  # type: ignore[override]
        """As the inner layer."""
        return self.inner.one_by_one

    @property
    def mixes_examples(self) -> bool:  # type: ignore[override]
        """As the inner layer."""
        return self.inner.mixes_examples

    @property
    def activation(self) -> Activation:  # type: ignore[override]
        """The inner layer's, beside the identity."""
        return BesideActivation(self.inner.activation, self.carried)

    @property
    def in_shape(self) -> Shape:
        return (self.carried + prod(self.inner.in_shape),)

    @property
    def out_shape(self) -> Shape:
        return (self.carried + prod(self.inner.out_shape),)

    def multiply_adds(self) -> int:
        return self.inner.multiply_adds()

    def uniform_shape(self, batch_size: int) -> Shape | None:
        return self.inner.uniform_shape(batch_size)

    def init(self, stream: Stream, init: Init) -> Params:
        return self.inner.init(stream, init)

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        a, residuals = self.inner.forward(p, self._work(h, self.inner.in_shape))
        return torch.cat([h[:, : self.carried], a.flatten(1)], dim=1), residuals

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        below = self.inner.adjoint(p, residuals, self._work(d, self.inner.out_shape))
        return torch.cat([d[:, : self.carried], below.flatten(1)], dim=1)

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        return self.inner.weight_grad(residuals, self._work(d, self.inner.out_shape))

    def matrix(self, p: Params) -> Tensor | None:
        return self.inner.matrix(p)

    def design(self, residuals: Residuals, d: Tensor) -> tuple[Tensor, Tensor] | None:
        return self.inner.design(residuals, self._work(d, self.inner.out_shape))

    def read(self, h: Tensor) -> Tensor:
        return self.inner.read(h[..., self.carried :])

    def why_not_invertible(self) -> str | None:
        return _NO_INVERSE

    def why_not_reversible(self) -> str | None:
        return _NO_INVERSE

    def _work(self, h: Tensor, shape: Shape) -> Tensor:
        return h[:, self.carried :].reshape(-1, *shape)


def joined(block_input: Shape, block_output: Shape) -> Join:
    """The end of a block; ConfigError where its output cannot be added to its input."""
    if block_input != block_output:
        raise ConfigError(
            f"its layers give the shape {block_output}, but its input has {block_input}: "
            "the two are added, so make them equal"
        )
    return Join(block_input)
