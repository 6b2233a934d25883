"""Units that feel each other's spikes a step later, as one operator with its adjoint.

As `bioplaus.numerics.membrane`, with weights V from the units to themselves in the loop over time:

    a_t = current_t + V s_{t-1}

Trains are (N, T, n), weights (n, n); both may have replicas on axes before these.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bioplaus.numerics.linalg import stacked
from bioplaus.numerics.membrane import charge, discharge


class Membrane(NamedTuple):
    """The numbers of a unit that fires; see `membrane.fire`. gain: on the current."""

    decay: float
    threshold: float
    to_zero: bool
    refractory: int
    gain: float
    through_reset: bool


def recur(current: Tensor, weight: Tensor, unit: Membrane) -> tuple[Tensor, Tensor, Tensor]:
    """a, the whole currents, potentials u and spikes s, each (N, T, n), from currents (N, T, n)."""
    how = unit.decay, unit.threshold, unit.to_zero, unit.refractory, unit.gain
    a, u, s = _recur(current, weight, *how)
    return a, u, s


def recur_adjoint(
    error: Tensor, weight: Tensor, slope: Tensor, u: Tensor, s: Tensor, unit: Membrane
) -> Tensor:
    """d, the error at the whole currents, from that at the spikes; all (N, T, n).

    Backwards in time d_t = gain l_t, with l_t of `membrane.fire_adjoint` for the error
    e_t + V^T d_{t+1}. weight: V, or others in its place.
    """
    how = unit.decay, unit.threshold, unit.to_zero, unit.through_reset, unit.gain
    d: Tensor = _recur_adjoint(error, weight, slope, u, s, *how)
    return d


@torch.library.custom_op("bioplaus::recur", mutates_args=())
def _recur(
    current: Tensor,
    weight: Tensor,
    decay: float,
    threshold: float,
    to_zero: bool,
    refractory: int,
    gain: float,
) -> tuple[Tensor, Tensor, Tensor]:
    a, u, s = (_like(current) for _ in range(3))
    v, before = _one_step(current), _one_step(current)
    waiting = torch.zeros_like(v) if refractory else None
    across = weight.mT.contiguous()
    for t in range(current.shape[-2]):
        total = a.select(-2, t)
        total.copy_(current.select(-2, t))
        if t > 0:
            total.add_(before @ across)
        charged = total if gain == 1 else gain * total
        spikes = s.select(-2, t)
        charge(charged, u.select(-2, t), spikes, v, waiting, decay, threshold, to_zero, refractory)
        before.copy_(spikes)
    return a, u, s


@torch.library.custom_op("bioplaus::recur_adjoint", mutates_args=())
def _recur_adjoint(
    error: Tensor,
    weight: Tensor,
    slope: Tensor,
    u: Tensor,
    s: Tensor,
    decay: float,
    threshold: float,
    to_zero: bool,
    through_reset: bool,
    gain: float,
) -> Tensor:
    d = _like(slope)
    later, after = _one_step(slope), None
    for t in range(slope.shape[-2] - 1, -1, -1):
        e, psi = error.select(-2, t), slope.select(-2, t)
        now = psi * (e if after is None else e + after @ weight)
        reset = u.select(-2, t) if to_zero else threshold
        felt = reset if through_reset else None
        discharge(now, psi, felt, s.select(-2, t), later, decay, to_zero)
        after = now if gain == 1 else gain * now
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
