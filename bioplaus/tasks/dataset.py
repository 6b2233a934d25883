"""The dataset contract: examples with their targets in two splits, checked and checksummed."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bioplaus.tasks.arrays import InvalidExamples as InvalidExamples
from bioplaus.tasks.arrays import as_tensor, whole_numbers

SplitName = Literal["train", "test"]


@dataclass(frozen=True)
class Split:
    """Examples of one split, as stored: not yet scaled or cast.

    x: any real dtype (uint8 for images), shape (N, *example shape).
    y: int64 class indices, shape (N,), or float values to learn, shape (N, how many).

    numpy arrays, lists of numbers and other integer types are converted. InvalidExamples for
    what is not numbers, for NaN or infinity, and where the two differ in length.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", as_tensor(self.x, "examples"))
        object.__setattr__(self, "y", whole_numbers(as_tensor(self.y, "labels")))
        for what, values in (("examples", self.x), ("labels", self.y)):
            if not values.dim():
                raise InvalidExamples(f"{what} are a single number, due is one for each example")
        if self.x.shape[0] != self.y.shape[0]:
            raise InvalidExamples(
                f"{self.x.shape[0]} examples but {self.y.shape[0]} labels, due is one for each"
            )
        if self.x.is_floating_point() and not (finite := torch.isfinite(self.x)).all():
            wrong = int((~finite.reshape(len(self), -1).all(1)).sum())
            raise InvalidExamples(
                f"{wrong} of {len(self)} examples hold NaN or infinity: fill those values in, or "
                "leave the examples out"
            )

    def check(self, classes: int) -> None:
        """InvalidExamples where a label is not a class index from 0 to `classes` - 1."""
        y = self.y
        if y.dtype != torch.int64 or y.dim() != 1:
            raise InvalidExamples(
                f"labels are {y.dtype} of shape {tuple(y.shape)}, due is a class index for each "
                f"example: int64 of shape ({len(self)},){_way_there(y, classes)}"
            )
        if wrong := int(((y < 0) | (y >= classes)).sum()):
            lowest, highest = int(y.min()), int(y.max())
            raise InvalidExamples(
                f"{wrong} of {len(self)} labels are not among the classes 0 to {classes - 1} (they "
                f"run from {lowest} to {highest}: {_renumbered(lowest, highest, classes)})"
            )

    def check_values(self, count: int) -> None:
        """InvalidExamples where targets are not `count` finite numbers for each example."""
        y = self.y
        if not y.is_floating_point() or tuple(y.shape) != (len(self), count):
            one = "; write y[:, None]" if y.dim() == 1 and count == 1 else ""
            raise InvalidExamples(
                f"targets are {y.dtype} of shape {tuple(y.shape)}, due are floats of shape "
                f"({len(self)}, {count}){one}"
            )
        if wrong := int((~torch.isfinite(y)).any(1).sum()):
            raise InvalidExamples(f"{wrong} of {len(self)} targets are NaN or infinity")

    def __len__(self) -> int:
        return int(self.x.shape[0])

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over shape, dtype and content: part of every record's key."""
        digest = hashlib.sha256()
        for tensor in (self.x, self.y):
            array = tensor.contiguous().cpu().numpy()
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def __getitem__(self, index: Tensor) -> Split:
        return Split(self.x[index], self.y[index])


class Dataset(ABC):
    """A data set, classes or numbers to learn, found through the entry points `bioplaus.datasets`.

    The two splits load separately, so that whoever must not see the test data
    never has them in memory.

    Example:

        >>> import torch
        >>> from bioplaus import Dataset, Split
        >>> class Parity(Dataset):
        ...     name = "parity"
        ...     shape = (1,)
        ...     classes = 2
        ...
        ...     def load(self, split):
        ...         x = torch.arange(80 if split == "train" else 20)
        ...         return Split(x[:, None].double(), x % 2)
        >>> len(Parity().load("test"))
        20
    """

    name: ClassVar[str]
    shape: ClassVar[tuple[int, ...]]
    """Shape of one example: (features,) or (channels, height, width)."""
    classes: ClassVar[int]
    """How many classes there are, or numbers to an example where `targets` are values."""
    targets: ClassVar[Literal["classes", "values"]] = "classes"
    """Values: y is float, (N, classes), for regression; tasks say `targets = "values"`."""
    scale: ClassVar[float] = 1.0
    """Stored values are multiplied by this; images end up in [0, 1]."""
    sizes: ClassVar[Mapping[SplitName, int]] = MappingProxyType({})
    """Examples per split where they are known without the data: for who plans a benchmark."""

    @abstractmethod
    def load(self, split: SplitName) -> Split:
        """The split as stored; raises DataError where data are missing or damaged."""


def _renumbered(lowest: int, highest: int, classes: int) -> str:
    """What to do with labels that run from other numbers than 0 to `classes` - 1."""
    if lowest == 1 and highest == classes:
        return "subtract 1"
    if lowest < 0:
        return "number the classes from 0, and leave out examples without one"
    return f"number the classes from 0, or declare classes = {highest + 1}"


def _way_there(y: Tensor, classes: int) -> str:
    """How to make class indices of such labels, where it can be told."""
    if y.is_floating_point() and not torch.isfinite(y).all():
        return "; some are NaN or infinity: leave those examples out"
    if y.dim() == 2 and y.shape[1] == 1:
        return "; write y.flatten()"
    if y.dim() == 2 and y.shape[1] == classes:
        return "; of one-hot rows: y.argmax(1)"
    return "; write y.long()" if y.dim() == 1 else ""
