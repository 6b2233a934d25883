"""Spiking neurons: an activation with memory along time, and what errors see of its spikes.

    u_t = decay v_{t-1} + gain a_t,     s_t = 1[u_t >= threshold], unless the unit is refractory,
    v_t = u_t - threshold s_t  or, where the reset is to zero,  (1 - s_t) u_t

with v_0 = 0; decay 1 integrates and fires. After a spike a unit integrates on, but does not
fire for `refractory` steps. A unit that does not fire at all gives u_t: a leaky integrator.
Trains are (N, T, ...): example, time step, units.

Each spike of an adaptive unit raises the threshold of later ones, which falls back slowly, so that
the unit remembers for longer than its potential does (Bellec et al. 2020, eqs. 9 and 10; it is the
threshold at rest that a reset subtracts):

    s_t = 1[u_t >= threshold + b_t],     b_{t+1} = adaptation_decay b_t + adaptation s_t,   b_1 = 0

Spikes have no slope. Learning puts a surrogate psi(u_t - threshold - b_t) in its place (Neftci,
Mostafa and Zenke 2019, doi:10.1109/MSP.2019.2931595), which belongs to the network, not to a
rule: the gradient by autograd that rules are compared with goes by the same one.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.errors import ConfigError, UnknownNameError
from bioplaus.network.activations import Activation
from bioplaus.numerics.membrane import Membrane, fire, fire_adjoint, leak

Reset = Literal["subtract", "zero"]


@dataclass(frozen=True)
class Surrogate(ABC):
    """A function psi of the distance x = u - threshold, in the place of a spike's derivative."""

    scale: float
    name: ClassVar[str]
    usual: ClassVar[float]

    def __post_init__(self) -> None:
        if not 0 < self.scale < float("inf"):
            raise ConfigError(f"the surrogate {self.name} needs a positive number: {self.scale}")

    @abstractmethod
    def slope(self, x: Tensor, threshold: float) -> Tensor:
        """psi(x)."""

    def __str__(self) -> str:
        return f"{self.name}({self.scale!r})"


class SuperSpike(Surrogate):
    """(1 + beta |x|)^-2, of height 1 (Zenke and Ganguli 2018, doi:10.1162/neco_a_01086)."""

    name = "superspike"
    usual = 10.0

    def slope(self, x: Tensor, threshold: float) -> Tensor:
        return (1 + self.scale * x.abs()).square().reciprocal()


class Triangle(Surrogate):
    """(gamma / threshold) max(0, 1 - |x| / threshold), as of e-prop (Bellec et al. 2020)."""

    name = "triangle"
    usual = 0.3

    def slope(self, x: Tensor, threshold: float) -> Tensor:
        return (self.scale / threshold) * (1 - x.abs() / threshold).clamp(min=0)


class Atan(Surrogate):
    """(alpha / 2) / (1 + (pi alpha x / 2)^2), the slope of an arc tangent, as in snnTorch."""

    name = "atan"
    usual = 2.0

    def slope(self, x: Tensor, threshold: float) -> Tensor:
        return (self.scale / 2) / (1 + (0.5 * math.pi * self.scale * x).square())


SURROGATES: dict[str, type[Surrogate]] = {s.name: s for s in (SuperSpike, Triangle, Atan)}


def parse_surrogate(text: str) -> Surrogate:
    """`"atan"`, `"superspike(25)"` -> the surrogate; ConfigError or UnknownNameError."""
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*", text)
    if match is None:
        raise ConfigError(f"cannot read the surrogate {text!r}; write atan or superspike(10)")
    name, argument = match.groups()
    if name not in SURROGATES:
        raise UnknownNameError("surrogate", name, SURROGATES)
    kind = SURROGATES[name]
    try:
        return kind(kind.usual if argument is None else float(argument))
    except ValueError:
        raise ConfigError(
            f"the surrogate {name} needs a number, as in superspike(10), not {argument!r}"
        ) from None


@dataclass(frozen=True)
class Neuron(Activation):
    """A spiking unit with a memory of its potential; see the module.

    The numbers are in steps and in units of the current: decay per step in [0, 1], threshold
    above 0. through_reset: whether errors go through the reset too, which makes potentials that
    are just below the threshold feel a spike that was not.
    """

    decay: float = 1.0
    threshold: float = 1.0
    reset: Reset = "subtract"
    refractory: int = 0
    gain: float = 1.0
    """On the current; 1 - decay makes the potential an average of it."""
    surrogate: Surrogate = field(default_factory=lambda: SuperSpike(SuperSpike.usual))
    through_reset: bool = False
    fires: bool = True
    adaptation: float = 0.0
    """Added to the threshold by a spike."""
    adaptation_decay: float = 0.0
    """The share of what was added that is left a step later."""
    name: ClassVar[str] = "neuron"

    def __post_init__(self) -> None:
        if not 0 <= self.decay <= 1:
            raise ConfigError(f"a neuron's decay is between 0 and 1, not {self.decay}")
        if not 0 < self.threshold < float("inf"):
            raise ConfigError(f"a neuron's threshold is a number above 0, not {self.threshold}")
        if self.refractory < 0:
            raise ConfigError(f"a refractory period is 0 or more steps, not {self.refractory}")
        if not 0 <= self.adaptation < float("inf"):
            raise ConfigError(f"a neuron's adaptation is a number from 0, not {self.adaptation}")
        if not 0 <= self.adaptation_decay <= 1:
            raise ConfigError(
                f"a neuron's adaptation_decay is between 0 and 1, not {self.adaptation_decay}"
            )
        object.__setattr__(self, "bounded", self.fires)

    @property
    def membrane(self) -> Membrane:
        """The unit's numbers."""
        return Membrane(
            self.decay,
            self.threshold,
            self.reset == "zero",
            self.refractory,
            self.gain,
            self.through_reset,
            self.adaptation,
            self.adaptation_decay,
        )

    def run(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Potentials u and what the units give, both (N, T, ...), from currents a (N, T, ...)."""
        current = a if self.gain == 1 else self.gain * a
        if not self.fires:
            u = leak(current, self.decay)
            return u, u
        return fire(current, self.membrane)

    def slopes(self, u: Tensor, s: Tensor) -> Tensor:
        """psi at each step, 0 while refractory; 1 for units that do not fire."""
        if not self.fires:
            return torch.ones_like(u)
        psi = self.surrogate.slope(u - self.thresholds(s), self.threshold)
        return psi * _ready(s, self.refractory) if self.refractory else psi

    def thresholds(self, s: Tensor) -> Tensor | float:
        """What potentials had to reach at each step, given the spikes."""
        if not self.adaptation:
            return self.threshold
        spent = self.adaptation * leak(s, self.adaptation_decay)
        return self.threshold + torch.cat([torch.zeros_like(s[:, :1]), spent[:, :-1]], dim=1)

    def pull(self, slope: Tensor, u: Tensor, s: Tensor, e: Tensor) -> Tensor:
        """The error at the currents from that at what the units give, back through time.

        slope: of `slopes`. u, s: of `run`.
        """
        if not self.fires:
            d = leak(e, self.decay, backwards=True)
        else:
            d = fire_adjoint(e, slope, u, s, self.membrane)
        return d if self.gain == 1 else self.gain * d

    def __call__(self, a: Tensor) -> Tensor:
        """What the units give; its derivative, for autograd, is `pull`, and has none itself."""
        output: Tensor = _Run.apply(a, self)[0]
        return output

    def slope_at(self, a: Tensor) -> Tensor:
        return self.slopes(*self.run(a))

    def __str__(self) -> str:
        return f"{self.name}(decay={self.decay!r}, threshold={self.threshold!r})"


class _Run(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
        u, s = neuron.run(a)
        return s, u.clone() if u is s else u

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        s, u = output
        ctx.mark_non_differentiable(u)
        ctx.save_for_backward(s, u)
        ctx.neuron = inputs[1]

    @staticmethod
    def backward(ctx: Any, e: Tensor, _: Tensor) -> tuple[Tensor, None]:
        s, u = (train.detach() for train in ctx.saved_tensors)
        return ctx.neuron.pull(ctx.neuron.slopes(u, s), u, s, e.detach()), None


def _ready(s: Tensor, refractory: int) -> Tensor:
    """1 where a unit has not fired in the steps before, that many, else 0."""
    fired = torch.zeros_like(s)
    for k in range(1, min(refractory, s.shape[1] - 1) + 1):
        fired = fired + F.pad(s[:, :-k].movedim(1, -1), (k, 0)).movedim(-1, 1)
    return (fired == 0).to(s.dtype)
