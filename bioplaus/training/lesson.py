"""What a rule is shown at each step of a task, and what is measured of it after each epoch.

Everything random in it is the harness's: drawn from the seed's own streams at the step's
number, so that seed k is shown the same under every rule, whichever seeds run beside it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.learning.batching import NoiseSource
from bioplaus.learning.rule import Batch, NoiseSpec
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.goal import Goal
from bioplaus.training.views import two_views


@dataclass(frozen=True)
class Exam:
    """Inputs that stay the same, (N, *in_shape), and what answers are judged by, (N, ...) each."""

    x: Tensor
    given: Sequence[Tensor]


class Drawn(Protocol):
    """What is drawn of each seed for showing a batch, as a function of the step."""

    def at(self, step: int | Tensor) -> Params:
        """name -> (R, ...), the step counted from 0."""
        ...


Seen = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""Inputs (N, ...) and what their answers are judged by -> inputs of each seed, (R, N, ...)."""


class Lesson(ABC):
    """How examples come to a rule, and how its answers are judged."""

    @abstractmethod
    def targets(self, split: Split, net: Network) -> Tensor:
        """Float targets of all examples, (N, C), in the examples' precision."""

    def steps(self, train: Split, batch_size: int) -> int:
        """Of an epoch."""
        return len(train) // batch_size

    def of_epoch(self, train: Split, epoch: int) -> Tensor | None:
        """Indices of the examples that an epoch, from 1, is of, on the CPU; None for all."""
        return None

    def looking_back(
        self, curves: Mapping[str, Sequence[float | None]], epoch: int
    ) -> dict[str, float | None]:
        """What a seed's marks until now say together, after an epoch, from 1."""
        return {}

    def rows(self, examples: int) -> int:
        """Rows of a batch of so many examples."""
        return examples

    def noise(self, examples: int) -> dict[str, NoiseSpec]:
        """What showing a batch of so many examples needs of random numbers."""
        return {}

    def drawn(
        self, train: Split, examples: int, seeds: Sequence[int], purpose: str = "views"
    ) -> Drawn:
        """What `show` takes at each step, of each seed, for batches of so many examples."""
        dtype, device = train.x.dtype, train.x.device
        return NoiseSource(self.noise(examples), seeds, dtype, device, purpose)

    def show(self, x: Tensor, y: Tensor, noise: Params) -> Batch:
        """The batch that the rule is given, from stacked examples (R, N, *in_shape)."""
        return Batch(x, y)

    def seen(self, seeds: Sequence[int], x: Tensor) -> Seen | None:
        """How each seed sees an exam's inputs; None where all see them as they are."""
        return None

    def probed(self, net: Network) -> int | None:
        """The layer, from 1, that probes read; None where nothing is probed."""
        return None

    def exam(self, split: Split, which: str, train: Split, net: Network) -> Exam | None:
        """What is asked of a split, the same for every rule and seed; which: "test", ...

        None where there are no answers to judge.
        """
        return None

    def judge(self, net: Network, output: Tensor, given: Sequence[Tensor]) -> dict[str, Tensor]:
        """Numbers of each answer, (R, N), to be summed; output (R, N, n_L)."""
        return {}

    def marks(self, sums: Mapping[str, Tensor], examples: int) -> dict[str, Tensor]:
        """What is recorded of a split, (R,) each, from the sums of `judge`."""
        return {}


class Classes(Lesson):
    """One-hot targets; measured: the share of right answers."""

    def targets(self, split: Split, net: Network) -> Tensor:
        return F.one_hot(split.y, net.classes).to(split.x.dtype)

    def exam(self, split: Split, which: str, train: Split, net: Network) -> Exam:
        return Exam(split.x, [split.y])

    def judge(self, net: Network, output: Tensor, given: Sequence[Tensor]) -> dict[str, Tensor]:
        return {"right": output[..., : net.classes].argmax(-1) == given[0]}

    def marks(self, sums: Mapping[str, Tensor], examples: int) -> dict[str, Tensor]:
        return {"accuracy": sums["right"].double() / examples}


class Values(Lesson):
    """Numbers to learn; measured: the loss, and R2 against the mean of the training targets.

    R2 = 1 - sum (y - output)^2 / sum (y - mean)^2, both sums over all examples and units.
    """

    def targets(self, split: Split, net: Network) -> Tensor:
        return split.y.to(split.x.dtype)

    def exam(self, split: Split, which: str, train: Split, net: Network) -> Exam:
        y = self.targets(split, net)
        return Exam(split.x, [y, torch.ones_like(y), _spread(y, self.targets(train, net))])

    def judge(self, net: Network, output: Tensor, given: Sequence[Tensor]) -> dict[str, Tensor]:
        y, counted, spread = given
        square = (output[..., : net.classes] - y).square().double()
        return {
            "loss": 0.5 * square.sum(-1),
            "error": (square * counted).sum(-1),
            "spread": (spread * counted).sum(-1).expand(square.shape[:-1]),
        }

    def marks(self, sums: Mapping[str, Tensor], examples: int) -> dict[str, Tensor]:
        return {"loss": sums["loss"] / examples, "r2": 1 - sums["error"] / sums["spread"]}


class Reconstruction(Values):
    """The example itself as the target, from what a mask leaves of it.

    R2 is over the pixels that were set to 0, or all of them where there is no mask, against
    the mean image of the training split. Without a mask the mean over images of the R2 against
    the image's own mean is measured, too, as generative models are reported; images of one
    grey have none.
    """

    def __init__(self, goal: Goal, shape: Sequence[int]) -> None:
        """shape: of one example as the data set has it."""
        self._goal, self._shape, self._mask = goal, tuple(shape), goal.mask

    def probed(self, net: Network) -> int | None:
        return self._goal.layer(net.depth)

    def targets(self, split: Split, net: Network) -> Tensor:
        return split.x.flatten(1)

    def noise(self, examples: int) -> dict[str, NoiseSpec]:
        if self._mask is None:
            return {}
        down, across = self._mask.patches(self._shape)
        return {"mask": NoiseSpec((examples, down * across), "uniform")}

    def show(self, x: Tensor, y: Tensor, noise: Params) -> Batch:
        if self._mask is None:
            return Batch(x, y)
        return Batch(x.masked_fill(self._removed(noise["mask"]).reshape(x.shape), 0), y)

    def exam(self, split: Split, which: str, train: Split, net: Network) -> Exam:
        found = super().exam(split, which, train, net)
        if self._mask is None:
            return found
        shape = self.noise(len(split))["mask"].shape
        drawn = Stream(0).at("mask", which).uniform(shape).to(split.x.device)
        removed = self._removed(drawn)
        y, _, spread = found.given
        x = split.x.masked_fill(removed.reshape(split.x.shape), 0)
        return Exam(x, [y, removed.reshape(y.shape).to(y.dtype), spread])

    def judge(self, net: Network, output: Tensor, given: Sequence[Tensor]) -> dict[str, Tensor]:
        found = super().judge(net, output, given)
        if self._mask is None:
            y = given[0].double()
            about_mean = (y - y.mean(-1, keepdim=True)).square().sum(-1)
            varied = about_mean > 1e-12 * y.square().sum(-1)
            each = 1 - found["error"] / about_mean.where(varied, 1.0)
            found["image_r2"] = each.where(varied, 0.0)
            found["varied"] = varied.expand(each.shape)
        return found

    def marks(self, sums: Mapping[str, Tensor], examples: int) -> dict[str, Tensor]:
        found = super().marks(sums, examples)
        if "image_r2" in sums:
            found["image_r2"] = sums["image_r2"] / sums["varied"]
        return found

    def _removed(self, drawn: Tensor) -> Tensor:
        """Which pixels are set to 0, bool (..., *shape), from uniform numbers (..., patches)."""
        assert self._mask is not None
        (down, across), size = self._mask.patches(self._shape), self._mask.patch
        chosen = drawn.topk(self._mask.removed(self._shape), sorted=False).indices
        removed = torch.zeros_like(drawn, dtype=torch.bool).scatter(-1, chosen, True)
        start = removed.shape[:-1]
        pixels = removed.reshape(*start, 1, down, 1, across, 1)
        channels, height, width = self._shape
        whole = pixels.expand(*start, channels, down, size, across, size)
        return whole.reshape(*start, channels, height, width)


class TwoViews(Lesson):
    """Two views of every example, and no target: zeros, which the loss does not read.

    What is measured after an epoch is a probe; there are no answers to judge.
    """

    def __init__(self, goal: Goal, shape: Sequence[int]) -> None:
        """shape: of one image as the data set has it."""
        assert goal.views is not None
        self._goal, self._shape, self._affine = goal, tuple(shape), goal.views.affine

    def probed(self, net: Network) -> int | None:
        return self._goal.layer(net.depth)

    def rows(self, examples: int) -> int:
        return 2 * examples

    def targets(self, split: Split, net: Network) -> Tensor:
        return split.x.new_zeros(len(split), net.classes)

    def noise(self, examples: int) -> dict[str, NoiseSpec]:
        return {"views": NoiseSpec((2 * examples, 6), "uniform")}

    def show(self, x: Tensor, y: Tensor, noise: Params) -> Batch:
        views = two_views(x, noise["views"], self._affine, self._shape)
        return Batch(views, torch.cat([y, y], dim=1))


def _spread(y: Tensor, train: Tensor) -> Tensor:
    """Squares of how far targets are from the mean of the training split's, (N, C)."""
    return (y.double() - train.double().mean(0)).square()


CLASSES = Classes()
