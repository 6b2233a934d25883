"""Training images changed at random: shifted, flipped, with a square cut out."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from bioplaus.learning.rule import Batch, NoiseSpec
from bioplaus.network.layer import Params
from bioplaus.tasks.augment import Augment
from bioplaus.training.lesson import Classes

_DRAWN = 5
"""Numbers for each image: shift down and across, flip, where the square is."""


class AugmentedClasses(Classes):
    """Classes to be told from images that are changed at each step."""

    def __init__(self, augment: Augment, shape: Sequence[int]) -> None:
        """shape: of one image as the data set has it."""
        self._augment, self._shape = augment, tuple(shape)

    def noise(self, examples: int) -> dict[str, NoiseSpec]:
        return {"augment": NoiseSpec((examples, _DRAWN), "uniform")}

    def show(self, x: Tensor, y: Tensor, noise: Params) -> Batch:
        images = x.reshape(-1, *self._shape)
        changed = augmented(images, noise["augment"].reshape(-1, _DRAWN), self._augment)
        return Batch(changed.reshape(x.shape), y)


def augmented(images: Tensor, drawn: Tensor, how: Augment) -> Tensor:
    """The images changed, (B, channels, height, width) as given.

    drawn: (B, 5), uniform on (0, 1): shift down, shift across, flip, row and column of the
    middle of the square.
    """
    height, width = images.shape[-2:]
    shifts, flip, middle = drawn[:, :2], drawn[:, 2], drawn[:, 3:]
    down, across = _below((shifts * (2 * how.pad + 1)), 2 * how.pad + 1).unbind(1)
    rows = _range(height, images) + down[:, None] - how.pad
    columns = _range(width, images) + across[:, None] - how.pad
    if how.flip:
        columns = torch.where((flip < 0.5)[:, None], columns.flip(1), columns)
    seen = _inside(rows, height)[:, :, None] & _inside(columns, width)[:, None, :]
    if how.cutout:
        size = torch.tensor([height, width], device=images.device)
        at = _below(middle * size, size) - how.cutout // 2
        hidden = [
            (_range(n, images) >= at[:, i, None])
            & (_range(n, images) < at[:, i, None] + how.cutout)
            for i, n in enumerate((height, width))
        ]
        seen = seen & ~(hidden[0][:, :, None] & hidden[1][:, None, :])
    picked = _picked(images, rows.clamp(0, height - 1), 2)
    picked = _picked(picked, columns.clamp(0, width - 1), 3)
    return torch.where(seen[:, None], picked, 0)


def _below(drawn: Tensor, bound: int | Tensor) -> Tensor:
    """Whole numbers below a bound: a uniform number may be rounded up to 1."""
    return torch.minimum(drawn.floor().long(), torch.as_tensor(bound, device=drawn.device) - 1)


def _range(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device)


def _inside(index: Tensor, count: int) -> Tensor:
    return (index >= 0) & (index < count)


def _picked(images: Tensor, index: Tensor, axis: int) -> Tensor:
    """Each image's own rows (axis 2) or columns (axis 3), by index (B, n)."""
    place = index[:, None, :, None] if axis == 2 else index[:, None, None, :]
    return images.gather(axis, place.expand_as(images))


def normalised(x: Tensor, train: Tensor, shape: Sequence[int]) -> Tensor:
    """Each channel of x less its mean over the training examples, by its deviation there.

    x, train: (N, ...), one example after the other of the data set's shape. A channel that
    never changes is left at 0.
    """
    channels = shape[0] if len(shape) == 3 else 1
    flat = train.reshape(len(train), channels, prod(shape) // channels).double()
    mean, spread = flat.mean((0, 2)), flat.std((0, 2), correction=0)
    factor = torch.where(spread > 0, 1 / spread, 0)
    each = x.reshape(len(x), channels, -1)
    return ((each - mean.to(x)[:, None]) * factor.to(x)[:, None]).reshape(x.shape)
