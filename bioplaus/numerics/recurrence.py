"""Units that feel each other's spikes a step later, as one operator with its adjoint.

As `bioplaus.numerics.membrane`, with weights V from the units to themselves in the loop over time:

    a_t = current_t + V s_{t-1}

Trains are (N, T, n), weights (n, n); both may have replicas on axes before these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bioplaus.numerics.linalg import stacked
from bioplaus.numerics.membrane import Charge, Discharge, Membrane


def recur(current: Tensor, weight: Tensor, unit: Membrane) -> tuple[Tensor, Tensor, Tensor]:
    """a, the whole currents, potentials u and spikes s, each (N, T, n), from currents (N, T, n)."""
    a, u, s = _recur(current, weight, unit.numbers)
    return a, u, s


def recur_adjoint(
    error: Tensor, weight: Tensor, slope: Tensor, u: Tensor, s: Tensor, unit: Membrane
) -> Tensor:
    """d, the error at the whole currents, from that at the spikes; all (N, T, n).

    Backwards in time d_t = gain l_t, with l_t of `membrane.fire_adjoint` for the error
    e_t + V^T d_{t+1}. weight: V, or others in its place.
    """
    d: Tensor = _recur_adjoint(error, weight, slope, u, s, unit.numbers)
    return d


@torch.library.custom_op("bioplaus::recur", mutates_args=())
def _recur(
    current: Tensor, weight: Tensor, numbers: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    unit = Membrane.of(numbers)
    a, u, s = (_like(current) for _ in range(3))
    units, before = Charge(unit, current.select(-2, 0)), _one_step(current)
    across = weight.mT.contiguous()
    for t in range(current.shape[-2]):
        total = a.select(-2, t)
        total.copy_(current.select(-2, t))
        if t > 0:
            total.add_(before @ across)
        spikes = s.select(-2, t)
        units.step(total if unit.gain == 1 else unit.gain * total, u.select(-2, t), spikes)
        before.copy_(spikes)
    return a, u, s


@torch.library.custom_op("bioplaus::recur_adjoint", mutates_args=())
def _recur_adjoint(
    error: Tensor, weight: Tensor, slope: Tensor, u: Tensor, s: Tensor, numbers: Sequence[float]
) -> Tensor:
    unit = Membrane.of(numbers)
    d = _like(slope)
    units, after = Discharge(unit, slope.select(-2, 0)), None
    for t in range(slope.shape[-2] - 1, -1, -1):
        e, psi = error.select(-2, t), slope.select(-2, t)
        now = psi * (e if after is None else e + after @ weight)
        units.step(now, psi, u.select(-2, t), s.select(-2, t))
        after = now if unit.gain == 1 else unit.gain * now
        d.select(-2, t).copy_(after)
    return d


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _one_step(train: Tensor) -> Tensor:
    """Zeros, (..., N, n)."""
    return train.new_zeros((*train.shape[:-2], train.shape[-1]))


@_recur.register_fake
def _(current: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _like(current), _like(current), _like(current)


@_recur_adjoint.register_fake
def _(error: Tensor, weight: Tensor, slope: Tensor, *rest: Any) -> Tensor:
    return _like(slope)


def _with_replicas(operator: Any, tensors: int) -> Any:
    """A vmap rule: the replicas are one more axis before the others."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        together = [
            stacked(info.batch_size, a, d) for a, d in zip(args[:tensors], in_dims, strict=False)
        ]
        results = operator(*together, *args[tensors:])
        return (results, 0) if isinstance(results, Tensor) else (results, (0,) * len(results))

    return rule


_recur.register_vmap(_with_replicas(_recur, 2))
_recur_adjoint.register_vmap(_with_replicas(_recur_adjoint, 5))
