"""Teacher: Gaussian inputs, labelled by a fixed random network."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from bioplaus.numerics.random_streams import Stream

from .synthetic import Synthetic


class Teacher(Synthetic):
    """Gaussian inputs of 16 values, labelled by a fixed random network; 20,000 + 4,000.

    The label is the largest of ten outputs of a network 16-32-32-10 with tanh, whose weights
    are Gaussian of variance 2.25 / fan-in, standardised over 4,000 inputs of their
    own, without which few classes would win. So what can be learned is known: a network of
    the teacher's shape can be right always.
    """

    name = "teacher"
    shape = (16,)
    classes = 10
    hidden: ClassVar[tuple[int, ...]] = (32, 32)
    examples = 20_000
    test_examples = 4_000
    gain: ClassVar[float] = 1.5

    def draw(self, stream: Stream, count: int) -> tuple[Tensor, Tensor]:
        """x: standard normal; y: the teacher's choice."""
        reference = Stream(0).at("dataset", self.name, "centre")
        typical = self.outputs(reference.normal((4_000, *self.shape)))
        x = stream.normal((count, *self.shape)).float().double()
        return x, ((self.outputs(x) - typical.mean(0)) / typical.std(0)).argmax(-1)

    def outputs(self, x: Tensor) -> Tensor:
        """The teacher's, (N, 10) in float64, for inputs (N, 16)."""
        stream = Stream(0).at("dataset", self.name, "weight")
        for l, (below, above) in enumerate(pairwise((*self.shape, *self.hidden, self.classes)), 1):
            weight = stream.at(l).normal((above, below)) * (self.gain / below**0.5)
            x = (x if l == 1 else x.tanh()) @ weight.T
        return x
