"""Two spirals: which of two arms, wound around each other, a point of the plane lies on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bioplaus.numerics.random_streams import Stream

from .synthetic import Synthetic


class TwoSpirals(Synthetic):
    """Points of the plane on two arms that wind around each other once.

    Radius from 0.1 to 1, evenly; Gaussian noise of 0.02. Source: K. Lang, M. Witbrock,
    "Learning to Tell Two Spirals Apart", 1988 (theirs have 97 points each and three turns).
    2,000 + 1,000 examples.
    """

    name = "two-spirals"
    shape = (2,)
    classes = 2
    examples = 2_000
    test_examples = 1_000

    def draw(self, stream: Stream, count: int) -> tuple[Tensor, Tensor]:
        """x: positions, both within about [-1, 1]; y: the arm."""
        y = (stream.at("arm").uniform((count,)) > 0.5).long()
        way = stream.at("way").uniform((count,))
        angle = 2.0 * math.pi * way + math.pi * y
        radius = 0.1 + 0.9 * way
        x = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1)
        return x + 0.02 * stream.at("noise").normal((count, 2)), y
