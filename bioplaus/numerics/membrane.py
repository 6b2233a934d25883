"""Membrane potentials along time, as one operator with its adjoint.

Trains are (N, T, ...): example, time step, units. The loop over time is inside the operator,
on all replicas at once, so that neither vmap nor a trace nor a compiler sees T times its
operations. Nothing here knows of weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bioplaus.numerics.linalg import stacked


def fire(
    current: Tensor, decay: float, threshold: float, to_zero: bool, refractory: int
) -> tuple[Tensor, Tensor]:
    """Potentials u and spikes s of units that fire; current (N, T, ...), both of its shape.

        u_t = decay v_{t-1} + current_t,   s_t = 1[u_t >= threshold] unless refractory,
        v_t = u_t - threshold s_t, or (1 - s_t) u_t where the reset is to zero.

    After a spike a unit integrates but does not fire for `refractory` steps. v_0 = 0.
    """
    u, s = _fire(current, decay, threshold, to_zero, refractory)
    return u, s


def leak(current: Tensor, decay: float, backwards: bool = False) -> Tensor:
    """u_t = decay u_{t-1} + current_t; backwards in time it is its own adjoint."""
    result: Tensor = _leak(current, decay, backwards)
    return result


def fire_adjoint(
    error: Tensor,
    slope: Tensor,
    potential: Tensor,
    spikes: Tensor,
    decay: float,
    threshold: float,
    to_zero: bool,
    through_reset: bool,
) -> Tensor:
    """The error at the current from that at the spikes, with slope_t in the place of ds_t/du_t.

    Backwards in time, with m_T = 0 and chi = 1 where errors go through the reset, else 0:

        l_t = slope_t (e_t - chi threshold m_t) + m_t,   or, where the reset is to zero,
        l_t = slope_t (e_t - chi u_t m_t) + (1 - s_t) m_t;      m_{t-1} = decay l_t
    """
    result: Tensor = _fire_adjoint(
        error, slope, potential, spikes, decay, threshold, to_zero, through_reset
    )
    return result


def charge(
    current: Tensor,
    potential: Tensor,
    spikes: Tensor,
    v: Tensor,
    waiting: Tensor | None,
    decay: float,
    threshold: float,
    to_zero: bool,
    refractory: int,
) -> None:
    """One step of `fire`: puts u_t into `potential`, s_t into `spikes`, and moves v and `waiting`.

    All of one shape; waiting counts the steps that a refractory unit still has to wait.
    """
    torch.add(v.mul_(decay), current, out=potential)
    torch.ge(potential, threshold, out=spikes)
    if waiting is not None:
        spikes.mul_(waiting == 0)
        waiting.sub_(1).clamp_(min=0).masked_fill_(spikes > 0, refractory)
    if to_zero:
        torch.addcmul(potential, potential, spikes, value=-1, out=v)
    else:
        torch.sub(potential, spikes, alpha=threshold, out=v)


def discharge(
    now: Tensor,
    slope: Tensor,
    reset: Tensor | float | None,
    spikes: Tensor,
    later: Tensor,
    decay: float,
    to_zero: bool,
) -> None:
    """One step of `fire_adjoint`, in place: `now` from slope_t e_t to l_t, `later` from m_t to
    m_{t-1}. reset: what a spike takes from the potential; None for errors that pass it by.
    """
    if reset is not None:
        now.sub_(slope * (reset * later))
    if to_zero:
        later.sub_(spikes * later)
    torch.mul(now.add_(later), decay, out=later)


@torch.library.custom_op("bioplaus::fire", mutates_args=())
def _fire(
    current: Tensor, decay: float, threshold: float, to_zero: bool, refractory: int
) -> tuple[Tensor, Tensor]:
    u, s = _like(current), _like(current)
    v = torch.zeros_like(current.select(1, 0), memory_format=torch.contiguous_format)
    waiting = torch.zeros_like(v) if refractory else None
    for t in range(current.shape[1]):
        now = current.select(1, t), u.select(1, t), s.select(1, t)
        charge(*now, v, waiting, decay, threshold, to_zero, refractory)
    return u, s


@torch.library.custom_op("bioplaus::leak", mutates_args=())
def _leak(current: Tensor, decay: float, backwards: bool) -> Tensor:
    u = _like(current)
    v = torch.zeros_like(current.select(1, 0), memory_format=torch.contiguous_format)
    for t in _order(current, backwards):
        torch.add(v.mul_(decay), current.select(1, t), out=u.select(1, t))
        v.copy_(u.select(1, t))
    return u


@torch.library.custom_op("bioplaus::fire_adjoint", mutates_args=())
def _fire_adjoint(
    error: Tensor,
    slope: Tensor,
    potential: Tensor,
    spikes: Tensor,
    decay: float,
    threshold: float,
    to_zero: bool,
    through_reset: bool,
) -> Tensor:
    result = torch.mul(slope, error, out=_like(slope))
    later = torch.zeros_like(slope.select(1, 0), memory_format=torch.contiguous_format)
    for t in _order(slope, backwards=True):
        reset = potential.select(1, t) if to_zero else threshold
        now = slope.select(1, t), reset if through_reset else None, spikes.select(1, t)
        discharge(result.select(1, t), *now, later, decay, to_zero)
    return result


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _order(train: Tensor, backwards: bool) -> range:
    steps = train.shape[1]
    return range(steps - 1, -1, -1) if backwards else range(steps)


@_fire.register_fake
def _(
    current: Tensor, decay: float, threshold: float, to_zero: bool, refractory: int
) -> tuple[Tensor, Tensor]:
    return _like(current), _like(current)


@_leak.register_fake
def _(current: Tensor, decay: float, backwards: bool) -> Tensor:
    return _like(current)


@_fire_adjoint.register_fake
def _(error: Tensor, slope: Tensor, *rest: Any) -> Tensor:
    return _like(slope)


def _with_replicas(operator: Any, trains: int) -> Any:
    """A vmap rule: the replicas are so many more examples."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        together = [
            stacked(info.batch_size, a, d).flatten(0, 1)
            for a, d in zip(args[:trains], in_dims, strict=False)
        ]
        results = operator(*together, *args[trains:])

        def apart(result: Tensor) -> Tensor:
            return result.reshape(info.batch_size, -1, *result.shape[1:])

        if isinstance(results, Tensor):
            return apart(results), 0
        return tuple(map(apart, results)), (0,) * len(results)

    return rule


_fire.register_vmap(_with_replicas(_fire, 1))
_leak.register_vmap(_with_replicas(_leak, 1))
_fire_adjoint.register_vmap(_with_replicas(_fire_adjoint, 4))
