"""Parity: whether the number of ones among eight bits is odd."""

from __future__ import annotations

from torch import Tensor

from bioplaus.numerics.random_streams import Stream

from .synthetic import Synthetic


class Parity(Synthetic):
    """Eight bits of +1 and -1 with Gaussian noise of 0.2, and whether an odd number is +1.

    No bit, and no seven of them, says anything of the label: a layer that is not trained by
    what the layers above need stays at chance. Source: M. Minsky, S. Papert, "Perceptrons",
    1969. 10,000 + 2,000 examples.
    """

    name = "parity"
    shape = (8,)
    classes = 2

    def draw(self, stream: Stream, count: int) -> tuple[Tensor, Tensor]:
        """x: bits with noise; y: 1 where an odd number of bits is +1."""
        bits = stream.at("bits").uniform((count, *self.shape)) > 0.5
        noise = 0.2 * stream.at("noise").normal((count, *self.shape))
        return 2.0 * bits.double() - 1.0 + noise, bits.sum(-1) % 2
