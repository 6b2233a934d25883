"""Delayed match: whether two stimuli, a while apart, are the same."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bioplaus.numerics.random_streams import Stream

from .synthetic import Synthetic


class DelayedMatch(Synthetic):
    """Trains of 16 steps of 10 units: two stimuli with a delay between, and whether they match.

    Stimulus A is spikes of the units 0 to 4, B of 5 to 9, each with probability 0.8 at each of
    three steps; all others spike with probability 0.02. The first stimulus stands at the steps 0
    to 2, the second at 11 to 13. Neither says anything of the label: what was shown first has to be
    remembered over eight silent steps. 4,000 + 1,000 examples.
    """

    name = "delayed-match"
    shape = (16, 10)
    classes = 2
    examples = 4_000
    test_examples = 1_000
    starts: ClassVar[tuple[int, int]] = (0, 11)
    lasts: ClassVar[int] = 3
    rates: ClassVar[tuple[float, float]] = (0.02, 0.8)

    def draw(self, stream: Stream, count: int) -> tuple[Tensor, Tensor]:
        """x: 0 or 1, (count, 16, 10); y: 1 where the stimuli are the same."""
        shown = (stream.at("stimuli").uniform((count, 2)) > 0.5).long()
        group = (torch.arange(self.shape[1]) >= self.shape[1] // 2).long()
        low, high = self.rates
        rate = torch.full((count, *self.shape), low, dtype=torch.float64)
        for k, start in enumerate(self.starts):
            of_stimulus = (group == shown[:, k, None]).double() * (high - low) + low
            rate[:, start : start + self.lasts] = of_stimulus[:, None]
        spikes = stream.at("spikes").uniform((count, *self.shape)) < rate
        return spikes.double(), (shown[:, 0] == shown[:, 1]).long()
