"""Friedman's first regression problem: ten uniform inputs, five of them in a known formula."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from torch import Tensor

from bioplaus.numerics.random_streams import Stream

from .synthetic import Synthetic


class Friedman(Synthetic):
    """Ten uniform inputs, and a number that five of them make, with noise; 4,000 + 2,000.

    y = 10 sin(pi x1 x2) + 20 (x3 - 1/2)^2 + 10 x4 + 5 x5 + noise. The noise is standard normal,
    the other five inputs say nothing. y is given less 14.4 and over 5, about its mean and
    standard deviation. What can be learned is known: of the variance
    of y, 24.8, all but the noise's, so that the largest R2 is .96.

    Source: J. H. Friedman, Multivariate adaptive regression splines, Annals of Statistics 19,
    1-67, 1991, section 4.3.
    """

    name = "friedman"
    shape = (10,)
    classes = 1
    targets: ClassVar[Literal["classes", "values"]] = "values"
    examples = 4_000
    test_examples = 2_000

    def draw(self, stream: Stream, count: int) -> tuple[Tensor, Tensor]:
        """x: uniform on (0, 1); y: the formula's, (count, 1)."""
        x = stream.at("x").uniform((count, 10))
        signal = 10 * (math.pi * x[:, 0] * x[:, 1]).sin() + 20 * (x[:, 2] - 0.5) ** 2
        signal = signal + 10 * x[:, 3] + 5 * x[:, 4]
        y = signal + stream.at("noise").normal((count,))
        return x, ((y - 14.4) / 5)[:, None]
