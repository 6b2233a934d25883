"""A task's examples, in their splits, and as a network reads them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bioplaus.network.layer import Shape
from bioplaus.tasks.dataset import Split


@dataclass(frozen=True)
class TrainingData:
    """What a task's examples are without the test split: all that a tuning trial sees."""

    train: Split
    validation: Split | None
    checksums: dict[str, str]
    scale: float
    classes: int

    def sizes(self) -> dict[str, int]:
        """Examples per split; 0 for a validation split that there is not."""
        held_out = len(self.validation) if self.validation is not None else 0
        return {"train": len(self.train), "validation": held_out}


@dataclass(frozen=True)
class TaskData(TrainingData):
    """A task's examples, as stored, in two or three splits."""

    test: Split

    def sizes(self) -> dict[str, int]:
        """Examples per split; 0 for a validation split that there is not."""
        return super().sizes() | {"test": len(self.test)}


def prepare(
    split: Split, shape: Shape, scale: float, dtype: torch.dtype, device: torch.device
) -> Split:
    """Scaled, cast and in the network's input shape, on the device: x (N, *shape), y (N)."""
    x: Tensor = split.x.to(device).reshape(len(split), *shape).to(dtype) * scale
    return Split(x, split.y.to(device))
