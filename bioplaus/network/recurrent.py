"""Spiking layers whose units feel each other's spikes a step later, a_t = W h_t + b + V s_{t-1}.

Errors go back along time through V too: e_t + V^T d_{t+1} in the place of e_t, which makes backprop
backpropagation through time. A rule that has other weights there puts them into the trace with
`rewired`; one that has none at all, which sees a unit's own memory alone, does not ask for `pull`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.layer import Dense, Init, LayerTrace, Params, Residuals
from bioplaus.network.neuron import Neuron
from bioplaus.network.time import AtEachStep, shifted
from bioplaus.numerics.membrane import Membrane
from bioplaus.numerics.random_streams import Stream
from bioplaus.numerics.recurrence import recur, recur_adjoint


@dataclass(frozen=True)
class Recurrent(AtEachStep):
    """Dense spiking units with weights to each other, themselves included: V (n, n), "recurrent".

    What one gives at step t - 1 adds to the others' currents at t. Nothing is felt at the first.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.inner) is not Dense:
            raise ConfigError("recurrent weights join the units of a plain dense layer")
        if not isinstance(self.activation, Neuron) or not self.activation.fires:
            raise ConfigError("recurrent weights carry spikes: give it a neuron that fires")

    @property
    def unit(self) -> Membrane:
        """The neuron's numbers."""
        assert isinstance(self.activation, Neuron)
        return self.activation.membrane

    def multiply_adds(self) -> int:
        return super().multiply_adds() + (self.steps - 1) * self.unit_shape[0] ** 2

    def init(self, stream: Stream, init: Init) -> Params:
        n = self.unit_shape[0]
        across = init.weight(stream.at("recurrent"), n, n)
        return {**super().init(stream, init), "recurrent": across}

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        """The whole currents, recurrent ones included."""
        current, (below,) = super().forward(p, h)
        a, u, s = _Recur.apply(current, p["recurrent"], self)
        return a, (below, p["recurrent"], u, s)

    def trace(self, p: Params, h: Tensor) -> LayerTrace:
        assert isinstance(self.activation, Neuron)
        _, residuals = self.forward(p, h)
        _, _, u, s = residuals
        return LayerTrace(h, u, self.activation.slopes(u, s), s, residuals)

    def rewired(self, step: LayerTrace, p: Params) -> LayerTrace:
        """The trace for a `pull` with the recurrent weights of p in the place of its own."""
        below, _, u, s = step.residuals
        return step._replace(residuals=(below, p["recurrent"], u, s))

    def pull(self, step: LayerTrace, e: Tensor) -> Tensor:
        _, across, u, s = step.residuals
        return recur_adjoint(e, across, step.slope, u, s, self.unit)

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        s = residuals[3]
        mean = d.flatten(0, 1).T @ shifted(s, 1).flatten(0, 1) / d.shape[0]
        return {**super().weight_grad(residuals, d), "recurrent": mean}


class _Recur(torch.autograd.Function):
    """`recur` for autograd, with the surrogate's slope, and none of its own derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(current: Tensor, weight: Tensor, layer: Recurrent) -> tuple[Tensor, Tensor, Tensor]:
        return recur(current, weight, layer.unit)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, weight, ctx.layer = inputs
        _, u, s = output
        ctx.mark_non_differentiable(u, s)
        ctx.save_for_backward(weight, u, s)

    @staticmethod
    def backward(ctx: Any, d: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None]:
        """d: at the whole currents, as if they were given: the way through V is added here."""
        weight, u, s = (t.detach() for t in ctx.saved_tensors)
        slope = ctx.layer.activation.slopes(u, s)
        through = shifted(d.detach() @ weight, -1)
        d = d.detach() + recur_adjoint(through, weight, slope, u, s, ctx.layer.unit)
        return d, d.flatten(0, 1).T @ shifted(s, 1).flatten(0, 1), None
