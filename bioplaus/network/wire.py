"""A node of a computation graph as one layer of a chain.

The values that are still to be read, v_1 .. v_m, are one vector. A wire's node reads some of
them; those that a later node reads too pass beside it, and its own value joins at the end:

    (v_1 .. v_m)  ->  (kept v's, f(a)),   a the inner layer's, of the v's that it reads
    adjoint           to each v its part of d if it was kept, and its share of what the inner
                      layer's adjoint makes of the rest (W^T d, or B d for B in the place of W^T)

So where a value is read at several places, its error is the sum of theirs, which is what
backpropagation along a graph is; and a value is carried by no weights at all: nothing here
knows a transpose that the rule does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation
from bioplaus.network.layer import Init, Layer, Params, Residuals, Shape
from bioplaus.numerics.random_streams import Stream

_NO_INVERSE = "a layer that values pass by (of a graph, or a residual block) has no inverse"


@dataclass(frozen=True)
class BesideActivation(Activation):
    """The identity on the first `carried` units, and another activation on the rest."""

    inner: Activation
    carried: int
    name: ClassVar[str] = "beside"

    def __post_init__(self) -> None:
        object.__setattr__(self, "zero_at_zero", self.inner.zero_at_zero)
        object.__setattr__(self, "bounded", self.inner.bounded)

    def __call__(self, a: Tensor) -> Tensor:
        return torch.cat([a[..., : self.carried], self.inner(a[..., self.carried :])], dim=-1)

    def slope_at(self, a: Tensor) -> Tensor:
        kept, own = a[..., : self.carried], a[..., self.carried :]
        return torch.cat([torch.ones_like(kept), self.inner.slope_at(own)], dim=-1)

    def __str__(self) -> str:
        return str(self.inner)


@dataclass(frozen=True)
class Wire(Layer):
    """A layer that reads some of the live values, while others pass beside it.

    A layer of several inputs reads them one after the other, as one vector.
    """

    inner: Layer
    live: tuple[Shape, ...]
    """Shapes of the values below, in their order."""
    reads: tuple[int, ...]
    """The inputs of the inner layer, by their place in `live`; one may stand there twice."""
    keeps: tuple[int, ...]
    """Those that pass on, by their place in `live`, in rising order."""
    kind: ClassVar[str] = "wire"
    branches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        read, due = sum(prod(self.live[i]) for i in self.reads), prod(self.inner.in_shape)
        if read != due:
            raise ConfigError(f"it reads {due} units, but its inputs have {read}")

    @property
    def one_by_one(self) -> bool:  # type: ignore[override]
        """As the inner layer."""
        return self.inner.one_by_one

    @property
    def mixes_examples(self) -> bool:  # type: ignore[override]
        """As the inner layer."""
        return self.inner.mixes_examples

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """As the inner layer."""
        return self.inner.linear

    @property
    def activation(self) -> Activation:  # type: ignore[override]
        """The inner layer's, beside the identity."""
        inner = self.inner.activation
        return BesideActivation(inner, self.carried) if self.keeps else inner

    @property
    def carried(self) -> int:
        """Units that pass beside the inner layer."""
        return sum(prod(self.live[i]) for i in self.keeps)

    @property
    def in_shape(self) -> Shape:
        return self.live[0] if len(self.live) == 1 else (sum(map(prod, self.live)),)

    @property
    def out_shape(self) -> Shape:
        own = self.inner.out_shape
        return (self.carried + prod(own),) if self.keeps else own

    def multiply_adds(self) -> int:
        return self.inner.multiply_adds()

    def uniform_shape(self, batch_size: int) -> Shape | None:
        return self.inner.uniform_shape(batch_size)

    def init(self, stream: Stream, init: Init) -> Params:
        return self.inner.init(stream, init)

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        flat = h.flatten(1)
        a, residuals = self.inner.forward(p, self._read(flat, (h.shape[0],)))
        if not self.keeps:
            return a, residuals
        return torch.cat([*self._parts(flat, self.keeps), a.flatten(1)], dim=-1), residuals

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        below = self.inner.adjoint(p, residuals, self._own(d)).flatten(1)
        shares: list[list[Tensor]] = [[] for _ in self.live]
        for error, places in ((d, self.keeps), (below, self.reads)):
            bounds = accumulate((prod(self.live[i]) for i in places), initial=0)
            for i, (start, stop) in zip(places, pairwise(bounds), strict=True):
                shares[i].append(error[:, start:stop])
        errors = [
            _sum(found) if found else d.new_zeros(d.shape[0], prod(shape))
            for shape, found in zip(self.live, shares, strict=True)
        ]
        return torch.cat(errors, dim=1).reshape(-1, *self.in_shape)

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        return self.inner.weight_grad(residuals, self._own(d))

    def matrix(self, p: Params) -> Tensor | None:
        return self.inner.matrix(p)

    def design(self, residuals: Residuals, d: Tensor) -> tuple[Tensor, Tensor] | None:
        return self.inner.design(residuals, self._own(d))

    def read(self, h: Tensor) -> Tensor:
        batch = h.shape[: h.dim() - len(self.in_shape)]
        return self.inner.read(self._read(h.reshape(*batch, -1), batch))

    def write(self, h: Tensor, part: Tensor) -> Tensor:
        raise ConfigError(_NO_INVERSE)

    def why_not_invertible(self) -> str | None:
        return _NO_INVERSE

    def why_not_reversible(self) -> str | None:
        return _NO_INVERSE

    def _read(self, flat: Tensor, batch: Sequence[int]) -> Tensor:
        """What the inner layer reads of the live values, (*batch, units)."""
        parts = self._parts(flat, self.reads)
        together = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        return together.reshape(*batch, *self.inner.in_shape)

    def _own(self, d: Tensor) -> Tensor:
        """The inner layer's part of something at the output."""
        return d[:, self.carried :].reshape(-1, *self.inner.out_shape) if self.keeps else d

    def _parts(self, flat: Tensor, places: Sequence[int]) -> list[Tensor]:
        """Live values one after the other, neighbours in one slice."""
        bounds = list(accumulate(map(prod, self.live), initial=0))
        return [flat[..., bounds[a] : bounds[b]] for a, b in _runs(places)]


def _runs(places: Sequence[int]) -> Iterable[tuple[int, int]]:
    """Stretches of neighbours, each from its first to behind its last."""
    starts = [i for i, p in enumerate(places) if i == 0 or p != places[i - 1] + 1]
    return [(places[a], places[b - 1] + 1) for a, b in pairwise([*starts, len(places)])]


def _sum(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
