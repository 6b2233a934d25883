"""Data that a formula makes, of any size, offline: the base of those in files beside this one."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.dataset import Dataset, Split, SplitName


class Synthetic(Dataset):
    """Examples drawn from a stream that the data set's and the split's names decide.

    A subclass of another size is another data set: give it a name of its own.
    """

    examples: ClassVar[int] = 10_000
    test_examples: ClassVar[int] = 2_000

    def load(self, split: SplitName) -> Split:
        """x: float32, (N, *shape); y: int64, (N,)."""
        count = self.examples if split == "train" else self.test_examples
        x, y = self.draw(Stream(0).at("dataset", self.name, split), count)
        return Split(x.float(), y)

    @abstractmethod
    def draw(self, stream: Stream, count: int) -> tuple[Tensor, Tensor]:
        """So many examples, float64 (count, *shape), and their labels, int64 (count,)."""
