"""The contrastive hinge: two views of an example close together, views of others apart.

Tang, Yang and Amit (2021), arXiv:2109.15089, with the mean in the place of their sum. Rows
0..N-1 of the output are the first views of N examples, rows N..2N-1 their second views: the
examples are coupled above the network's output and nowhere else.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bioplaus.network.losses import Loss


class ContrastiveHinge(Loss):
    """Mean over pairs of a hinge on L1 distances d_ij = ||z1_i - z2_j||_1.

    value = 1/N [sum_i relu(delta - m + d_ii) + sum_{i != j} w_ij relu(delta + m - d_ij)]: views of
    one example are pulled to within m - delta, of two they are pushed beyond m + delta. The
    distances of n units grow with n, so by default m is n / 2 and delta n / 4.
    """

    name = "contrastive_hinge"

    def __init__(
        self,
        margin: float | None = None,
        delta: float | None = None,
        negatives: int | None = None,
        block: bool = True,
    ) -> None:
        """margin: m. negatives: only the next so many examples are apart, weighing 1 together;
        None for all, weighing 1 each. block: the first view teaches the second and learns
        nothing itself, the paper's short-term memory.
        """
        self.margin, self.delta, self.negatives, self.block = margin, delta, negatives, block

    def value(self, output: Tensor, targets: Tensor) -> Tensor:
        first, second = output.chunk(2)
        return self._costs(first.detach() if self.block else first, second).sum() / len(first)

    def each(self, output: Tensor, targets: Tensor) -> Tensor:
        """A row's share: what its pairs cost, so that the mean over the 2N rows is the value."""
        costs = self._costs(*output.chunk(2))
        return torch.cat([costs.sum(1), costs.sum(0)])

    def error(self, output: Tensor, targets: Tensor) -> Tensor:
        """2N times the gradient of `value`: the mean over 2N rows is then the gradient."""
        first, second = output.chunk(2)
        sign = (first[:, None] - second).sign()
        slopes = self._slopes(first, second)
        upward = 2 * (slopes[..., None] * sign)
        below = torch.zeros_like(first) if self.block else -upward.sum(1)
        return torch.cat([below, upward.sum(0)])

    def _costs(self, first: Tensor, second: Tensor) -> Tensor:
        """What each pair costs, (N, N)."""
        inside, weight = self._hinges(first, second)
        return weight.abs() * inside.relu()

    def _slopes(self, first: Tensor, second: Tensor) -> Tensor:
        """N times d value / d S_ij with S = -d, (N, N)."""
        inside, weight = self._hinges(first, second)
        return weight * (inside > 0)

    def _hinges(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """What stands inside each hinge, and its weight: -1 for one example's own two views."""
        count, units = first.shape
        m = units / 2 if self.margin is None else self.margin
        delta = units / 4 if self.delta is None else self.delta
        distance = (first[:, None] - second).abs().sum(-1)
        weight = self._weights(count).to(first)
        inside = torch.where(weight < 0, delta - m + distance, delta + m - distance)
        return inside, weight

    def _weights(self, count: int) -> Tensor:
        own = torch.eye(count)
        if self.negatives is None:
            return 1 - 2 * own
        after = sum((own.roll(r, 1) for r in range(1, self.negatives + 1)), torch.zeros_like(own))
        return after / self.negatives - own
