"""Losses, each with the error it puts on the network's output.

Targets are float (N, C); output units beyond the first C are auxiliary: their target
is their own activity, so their error is zero and they do not count.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from bioplaus.errors import UnknownNameError


class Loss(ABC):
    """A function of the network's output h_L and the targets."""

    name: ClassVar[str]

    @abstractmethod
    def value(self, output: Tensor, targets: Tensor) -> Tensor:
        """Mean over the batch, a scalar; output (N, n_L), targets (N, C), C <= n_L."""

    def each(self, output: Tensor, targets: Tensor) -> Tensor:
        """Each example's own loss, (N); `value` is their mean."""
        alone: Tensor = vmap(lambda h, t: self.value(h[None], t[None]))(output, targets)
        return alone

    @abstractmethod
    def error(self, output: Tensor, targets: Tensor) -> Tensor:
        """e_L: the gradient of each example's own loss at h_L, (N, n_L)."""


class Mse(Loss):
    """1/2 ||h_L - t||^2: summed over the C classes, averaged over the batch."""

    name = "mse"

    def value(self, output: Tensor, targets: Tensor) -> Tensor:
        difference = output[..., : targets.shape[-1]] - targets
        return 0.5 * difference.square().sum(-1).mean()

    def each(self, output: Tensor, targets: Tensor) -> Tensor:
        difference = output[..., : targets.shape[-1]] - targets
        return 0.5 * difference.square().sum(-1)

    def error(self, output: Tensor, targets: Tensor) -> Tensor:
        classes = targets.shape[-1]
        return _pad(output[..., :classes] - targets, output.shape[-1] - classes)


class CrossEntropy(Loss):
    """-sum_c t_c log softmax(h_L)_c, with h_L as logits; t_c are probabilities."""

    name = "cross_entropy"

    def value(self, output: Tensor, targets: Tensor) -> Tensor:
        log_p = F.log_softmax(output[..., : targets.shape[-1]], dim=-1)
        return -(targets * log_p).sum(-1).mean()

    def each(self, output: Tensor, targets: Tensor) -> Tensor:
        log_p = F.log_softmax(output[..., : targets.shape[-1]], dim=-1)
        return -(targets * log_p).sum(-1)

    def error(self, output: Tensor, targets: Tensor) -> Tensor:
        classes = targets.shape[-1]
        p = F.softmax(output[..., :classes], dim=-1)
        return _pad(p * targets.sum(-1, keepdim=True) - targets, output.shape[-1] - classes)


def _pad(error: Tensor, auxiliary: int) -> Tensor:
    return F.pad(error, (0, auxiliary)) if auxiliary else error


LOSSES: dict[str, Loss] = {loss.name: loss for loss in (Mse(), CrossEntropy())}


def get_loss(name: str) -> Loss:
    """The loss of that name; UnknownNameError where there is none."""
    if name not in LOSSES:
        raise UnknownNameError("loss", name, LOSSES)
    return LOSSES[name]
