"""How far apart two updates are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bioplaus.learning.rule import Update
from bioplaus.network.layer import Params

EXACT = 1e-12
"""Relative tolerance in float64 of what holds exactly, up to rounding."""


def rel(a: Tensor, b: Tensor) -> float:
    """||a - b|| / ||b||; where b is 0, a must be 0: then 0, else infinity."""
    assert a.shape == b.shape
    a, b = a.double(), b.double()
    if not b.any():
        return 0.0 if not a.any() else float("inf")
    return float((a - b).norm() / b.norm())


def worst(a: Params, b: Params) -> float:
    """The largest `rel` of any tensor; NaN counts as infinitely far."""
    assert a.keys() == b.keys()
    distances = [rel(a[name], b[name]) for name in b]
    return max((d if d == d else float("inf") for d in distances), default=0.0)


def identical(a: object, b: object) -> bool:
    """The same tensors under the same names, bit for bit; NaN equals NaN."""
    (left, left_spec), (right, right_spec) = pytree.tree_flatten(a), pytree.tree_flatten(b)
    return left_spec == right_spec and all(
        x.shape == y.shape
        and torch.equal(x.nan_to_num(7), y.nan_to_num(7))
        and torch.equal(x.isnan(), y.isnan())
        for x, y in zip(left, right, strict=True)
    )


def distance(a: Update, b: Update) -> float:
    """The largest relative difference of any tensor of two updates; of metrics, below 1
    absolute: one that tells how far a relaxation got may be rounding and nothing else."""
    assert a.metrics.keys() == b.metrics.keys()
    pairs = ((float(a.metrics[name]), float(b.metrics[name])) for name in b.metrics)
    found = [abs(x - y) / max(1.0, abs(y)) for x, y in pairs]
    tensors = (name for name in Update._fields if name != "metrics")
    found += [worst(getattr(a, name), getattr(b, name)) for name in tensors]
    return max(float("inf") if d != d else d for d in found)
