"""Stochastic spiking copies of a network's upper layers, whose spike times tell weights apart.

Units of the layers 0..m fire at random with a chance that neighbours of both sides set:

    u_l = b_l + W_l p_{l-1} + B_{l+1}^T p_{l+1},   P(S_t = 1) = sigma(u - ln tau) if p = 0, else 0

where p is 1 for tau steps after a spike, in which the unit is refractory, and B has the shape of
W. With the window K = 2 tau and x_t = sum_{k<K} exp(-k / tau) S_{t-k}, a spike below before one
above strengthens B, and one above before one below weakens it:

    Delta_l = 1 / (K R) sum_copies sum_t ( S_{l,t} x_{l-1,t}^T - x_{l,t} S_{l-1,t}^T )

Its mean is 0 where B = W, since the effect of a spike lasts as long as its unit is refractory,
and has the sign of W - B elsewhere, whatever the biases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from bioplaus.numerics.random_streams import Stream

_DRAWN_AT_ONCE = 64
"""Steps whose random numbers are held at a time."""


class SpikingCopies:
    """R copies of the layers 0..m for each of S networks, silent at first."""

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        copies: int,
        tau: int,
        streams: Sequence[Stream],
    ) -> None:
        """weights: W_1..W_m, (S, n_l, n_{l-1}). biases: of layers 0..m, (S, n_l). streams: S."""
        self._weights = list(weights)
        self._bias = torch.cat(list(biases), dim=1).unsqueeze(2)
        ends = list(accumulate(b.shape[1] for b in biases))
        self._layers = [slice(end - b.shape[1], end) for end, b in zip(ends, biases, strict=True)]
        self._tau, self._window = tau, 2 * tau
        self._generators = [stream.generator() for stream in streams]
        self._shape = (len(streams), ends[-1], copies)
        self._waiting = self._bias.new_zeros(self._shape)
        self._trace = self._bias.new_zeros(self._shape)
        self._past = [self._bias.new_zeros(self._shape) for _ in range(self._window)]
        """The spikes of the last K steps, the oldest first."""

    def run(self, feedback: Sequence[Tensor], steps: int) -> list[Tensor]:
        """Delta_1..Delta_m, (S, n_l, n_{l-1}), of so many steps with B_1..B_m held as given."""
        totals = [torch.zeros_like(b) for b in feedback]
        back = [b.mT.contiguous() for b in feedback]
        while steps > 0:
            now = min(steps, _DRAWN_AT_ONCE)
            spikes, traces = self._advance(back, self._thresholds(now))
            for total, low, high in zip(totals, self._layers, self._layers[1:], strict=False):
                total += spikes[:, high] @ traces[:, low].mT
                total -= traces[:, high] @ spikes[:, low].mT
            steps -= now
        return [total / (self._window * self._shape[-1]) for total in totals]

    def _thresholds(self, steps: int) -> Tensor:
        """What u has to exceed for a spike, (steps, S, n, R): a spike has the chance it should."""
        drawn = [torch.rand((steps, *self._shape[1:]), generator=g) for g in self._generators]
        return torch.stack(drawn, dim=1).logit_().add_(math.log(self._tau)).to(self._bias)

    def _advance(self, back: Sequence[Tensor], thresholds: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes and traces of the next steps, (S, n, steps R) each."""
        decay, gone = math.exp(-1 / self._tau), math.exp(-self._window / self._tau)
        shape = (self._shape[0], self._shape[1], len(thresholds), self._shape[2])
        spikes, traces = self._bias.new_empty(shape), self._bias.new_empty(shape)
        active, drive = torch.empty_like(self._waiting), torch.empty_like(self._waiting)
        for t, threshold in enumerate(thresholds):
            torch.clamp(self._waiting, max=1, out=active)
            drive.copy_(self._bias.expand(self._shape))
            pairs = zip(self._layers, self._layers[1:], self._weights, back, strict=False)
            for low, high, up, down in pairs:
                drive[:, high].baddbmm_(up, active[:, low])
                drive[:, low].baddbmm_(down, active[:, high])
            oldest = self._past.pop(0)
            self._trace.mul_(decay).sub_(oldest, alpha=gone)
            s = oldest.copy_(drive.gt_(threshold)).addcmul_(drive, active, value=-1)
            self._trace.add_(s)
            self._past.append(s)
            self._waiting.sub_(1).clamp_(min=0).add_(s, alpha=self._tau)
            spikes[:, :, t], traces[:, :, t] = s, self._trace
        return spikes.flatten(2), traces.flatten(2)
