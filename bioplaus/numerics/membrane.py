"""Membrane potentials along time, as one operator with its adjoint.

Trains are (N, T, ...): example, time step, units. The loop over time is inside the operator,
on all replicas at once, so that neither vmap nor a trace nor a compiler sees T times its
operations. Nothing here knows of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bioplaus.numerics.linalg import stacked


class Membrane(NamedTuple):
    """The numbers of a unit that fires.

    to_zero: the reset, else by subtraction of the threshold. refractory: steps after a spike
    without one. gain: on the current. through_reset: errors go through the reset, too. adaptation:
    what a spike adds to the threshold of later steps, of which adaptation_decay is left at each.
    """

    decay: float
    threshold: float
    to_zero: bool = False
    refractory: int = 0
    gain: float = 1.0
    through_reset: bool = False
    adaptation: float = 0.0
    adaptation_decay: float = 0.0

    @property
    def numbers(self) -> list[float]:
        """As operators take them."""
        return [float(number) for number in self]

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Membrane:
        """The unit of these `numbers`."""
        decay, threshold, to_zero, refractory, gain, through_reset, *adaptation = numbers
        fast = decay, threshold, bool(to_zero), int(refractory), gain, bool(through_reset)
        return cls(*fast, *adaptation)


def fire(current: Tensor, unit: Membrane) -> tuple[Tensor, Tensor]:
    """Potentials u and spikes s of units that fire; current (N, T, ...), both of its shape.

        u_t = decay v_{t-1} + current_t,   s_t = 1[u_t >= threshold + b_t] unless refractory,
        v_t = u_t - threshold s_t, or (1 - s_t) u_t where the reset is to zero,
        b_{t+1} = adaptation_decay b_t + adaptation s_t

    After a spike a unit integrates but does not fire for `refractory` steps. v_0 = b_1 = 0. The
    unit's gain is not applied.
    """
    u, s = _fire(current, unit.numbers)
    return u, s


def leak(current: Tensor, decay: float, backwards: bool = False) -> Tensor:
    """u_t = decay u_{t-1} + current_t; backwards in time it is its own adjoint."""
    result: Tensor = _leak(current, decay, backwards)
    return result


def fire_adjoint(
    error: Tensor, slope: Tensor, potential: Tensor, spikes: Tensor, unit: Membrane
) -> Tensor:
    """The error at the current from that at the spikes, with slope_t in the place of ds_t/du_t.

    Backwards in time, with m_T = n_T = 0 and chi = 1 where errors go through the reset, else 0:

        k_t = slope_t (e_t + adaptation n_t - chi r_t m_t),   r_t = threshold, or u_t to zero
        l_t = k_t + m_t, or k_t + (1 - s_t) m_t where the reset is to zero
        m_{t-1} = decay l_t,   n_{t-1} = adaptation_decay n_t - k_t
    """
    result: Tensor = _fire_adjoint(error, slope, potential, spikes, unit.numbers)
    return result


class Charge:
    """Units on their way forward in time, at first at rest."""

    def __init__(self, unit: Membrane, like: Tensor) -> None:
        """like: of one step."""
        self._unit = unit
        self._v = _at_rest(like)
        self._waiting = _at_rest(like) if unit.refractory else None
        self._raised = _at_rest(like) if unit.adaptation else None

    def step(self, current: Tensor, potential: Tensor, spikes: Tensor) -> None:
        """Puts u_t into `potential` and s_t into `spikes`; all of one step."""
        unit, v = self._unit, self._v
        torch.add(v.mul_(unit.decay), current, out=potential)
        if self._raised is None:
            torch.ge(potential, unit.threshold, out=spikes)
        else:
            torch.ge(potential, self._raised + unit.threshold, out=spikes)
        if self._waiting is not None:
            spikes.mul_(self._waiting == 0)
            self._waiting.sub_(1).clamp_(min=0).masked_fill_(spikes > 0, unit.refractory)
        if self._raised is not None:
            self._raised.mul_(unit.adaptation_decay).add_(spikes, alpha=unit.adaptation)
        if unit.to_zero:
            torch.addcmul(potential, potential, spikes, value=-1, out=v)
        else:
            torch.sub(potential, spikes, alpha=unit.threshold, out=v)


class Discharge:
    """Errors of units on their way back in time."""

    def __init__(self, unit: Membrane, like: Tensor) -> None:
        """like: of one step."""
        self._unit = unit
        self._later = _at_rest(like)
        self._raised = _at_rest(like) if unit.adaptation else None

    def step(self, now: Tensor, slope: Tensor, potential: Tensor, spikes: Tensor) -> None:
        """Makes slope_t e_t in `now` into l_t, in place; all of one step."""
        unit, later = self._unit, self._later
        if self._raised is not None:
            now.addcmul_(slope, self._raised, value=unit.adaptation)
        if unit.through_reset:
            now.sub_(slope * ((potential if unit.to_zero else unit.threshold) * later))
        if self._raised is not None:
            self._raised.mul_(unit.adaptation_decay).sub_(now)
        if unit.to_zero:
            later.sub_(spikes * later)
        torch.mul(now.add_(later), unit.decay, out=later)


@torch.library.custom_op("bioplaus::fire", mutates_args=())
def _fire(current: Tensor, numbers: Sequence[float]) -> tuple[Tensor, Tensor]:
    u, s = _like(current), _like(current)
    units = Charge(Membrane.of(numbers), current.select(1, 0))
    for t in range(current.shape[1]):
        units.step(current.select(1, t), u.select(1, t), s.select(1, t))
    return u, s


@torch.library.custom_op("bioplaus::leak", mutates_args=())
def _leak(current: Tensor, decay: float, backwards: bool) -> Tensor:
    u = _like(current)
    v = _at_rest(current.select(1, 0))
    for t in _order(current, backwards):
        torch.add(v.mul_(decay), current.select(1, t), out=u.select(1, t))
        v.copy_(u.select(1, t))
    return u


@torch.library.custom_op("bioplaus::fire_adjoint", mutates_args=())
def _fire_adjoint(
    error: Tensor, slope: Tensor, potential: Tensor, spikes: Tensor, numbers: Sequence[float]
) -> Tensor:
    result = torch.mul(slope, error, out=_like(slope))
    units = Discharge(Membrane.of(numbers), slope.select(1, 0))
    for t in _order(slope, backwards=True):
        units.step(*(train.select(1, t) for train in (result, slope, potential, spikes)))
    return result


def _at_rest(like: Tensor) -> Tensor:
    return torch.zeros_like(like, memory_format=torch.contiguous_format)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _order(train: Tensor, backwards: bool) -> range:
    steps = train.shape[1]
    return range(steps - 1, -1, -1) if backwards else range(steps)


@_fire.register_fake
def _(current: Tensor, numbers: Sequence[float]) -> tuple[Tensor, Tensor]:
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
