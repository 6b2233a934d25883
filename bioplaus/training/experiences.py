"""Experiences in turn: which examples an epoch is of, and what is remembered of those before.

With R_ij the test accuracy on experience j after learning experience i, of K in all, recorded
after the last one are (Lopez-Paz and Ranzato 2017)

    average accuracy   ACC = 1/K sum_j R_Kj
    backward transfer  BWT = 1/(K-1) sum_{j<K} (R_Kj - R_jj)

and forgetting (Chaudhry et al. 2018), 1/(K-1) sum_{j<K} (max_{i<K} R_ij - R_Kj), i from j. After
an epoch of an earlier experience the last two are over those before it, with what is known now
in the place of R_K; ACC is over all K, those to come included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bioplaus.errors import DataError
from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.tasks.continual import Continual
from bioplaus.tasks.dataset import Split
from bioplaus.training.lesson import Classes, Drawn, Exam, Seen

Curve = Sequence[float | None]


class Experiences(Classes):
    """Classes, told from the examples of one experience after the other."""

    def __init__(self, continual: Continual, classes: int, epochs: int, name: str) -> None:
        """name: of the data set."""
        self._continual, self._classes = continual, classes
        self._epochs, self._name = epochs, name

    def steps(self, train: Split, batch_size: int) -> int:
        """Of a split, in an epoch of every experience as many as the smallest has batches."""
        if self._continual.kind == "permuted":
            return super().steps(train, batch_size)
        least = min(self._counts(train, "training"))
        if least < batch_size:
            raise DataError(
                f"an experience has {least} training examples, which do not fill a batch of "
                f"{batch_size}"
            )
        return least // batch_size

    def of_epoch(self, train: Split, epoch: int) -> Tensor | None:
        if self._continual.kind == "permuted":
            return None
        own = self._continual.experience(epoch, self._epochs)
        there = self._continual.of_classes(train.y.cpu(), self._classes) == own
        return there.nonzero().flatten()

    def drawn(
        self, train: Split, examples: int, seeds: Sequence[int], purpose: str = "views"
    ) -> Drawn:
        if self._continual.kind == "split":
            return super().drawn(train, examples, seeds, purpose)
        epochs = self._epochs // self._continual.experiences
        steps = self.steps(train, examples) * epochs
        return OrderInTurn(self._orders(seeds, train.x), steps)

    def show(self, x: Tensor, y: Tensor, noise: Params) -> Batch:
        if self._continual.kind == "split":
            return Batch(x, y)
        return Batch(_in_order(x, noise["order"][:, None]), y)

    def seen(self, seeds: Sequence[int], x: Tensor) -> Seen | None:
        if self._continual.kind == "split":
            return None
        orders = self._orders(seeds, x)

        def seen(x: Tensor, given: Sequence[Tensor]) -> Tensor:
            _, of, _ = given
            return _in_order(x.expand(len(seeds), *x.shape), orders[:, of])

        return seen

    def exam(self, split: Split, which: str, train: Split, net: Network) -> Exam:
        """Of permuted experiences, all examples once for each, one experience after the other."""
        x, y = split.x, split.y
        if self._continual.kind == "split":
            self._counts(split, which)
            of = self._continual.of_classes(y, self._classes)
        else:
            each = torch.arange(self._continual.experiences, device=y.device)
            of = each.repeat_interleave(len(y))
            x, y = (t.repeat(len(each), *[1] * (t.ndim - 1)) for t in (x, y))
        return Exam(x, [y, of, self._continual.allowed(of, self._classes)])

    def judge(self, net: Network, output: Tensor, given: Sequence[Tensor]) -> dict[str, Tensor]:
        y, of, allowed = given
        answers = output[..., : net.classes].masked_fill(~allowed, -torch.inf).argmax(-1)
        right, found = answers == y, {}
        for k in range(self._continual.experiences):
            found[f"right_{k}"] = right & (of == k)
            found[f"all_{k}"] = (of == k).expand(right.shape)
        return found

    def marks(self, sums: Mapping[str, Tensor], examples: int) -> dict[str, Tensor]:
        each = {
            f"experience_{k + 1}": sums[f"right_{k}"].double() / sums[f"all_{k}"]
            for k in range(self._continual.experiences)
        }
        return {**each, "average_accuracy": torch.stack(list(each.values())).mean(0)}

    def looking_back(self, curves: Mapping[str, Curve], epoch: int) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for split in ("validation", "test"):
            if f"{split}_experience_1" in curves:
                rows = [curves[f"{split}_experience_{k + 1}"] for k in range(self._before(epoch))]
                ends = [self._continual.last_epoch(k, self._epochs) for k in range(len(rows) + 1)]
                transfers, forgotten = _remembered(rows, ends, epoch)
                found[f"{split}_backward_transfer"] = _mean(transfers)
                found[f"{split}_forgetting"] = _mean(forgotten)
        return found

    def _before(self, epoch: int) -> int:
        """Experiences that are over, when that epoch begins."""
        return self._continual.experience(epoch, self._epochs)

    def _counts(self, split: Split, which: str) -> list[int]:
        """Examples of each experience; DataError where there are none."""
        of = self._continual.of_classes(split.y, self._classes)
        counts: list[int] = torch.bincount(of, minlength=self._continual.experiences).tolist()
        if 0 in counts:
            raise DataError(
                f"experience {counts.index(0) + 1} has no {which} examples: {self._name} has too "
                "few of its classes"
            )
        return counts

    def _orders(self, seeds: Sequence[int], x: Tensor) -> Tensor:
        """Of each seed and experience, the order of the values of an example, (R, K, values)."""
        values, count = x[0].numel(), self._continual.experiences
        each = [[self._continual.order(s, k, values) for k in range(count)] for s in seeds]
        return torch.stack([torch.stack(orders) for orders in each]).to(x.device)


class OrderInTurn:
    """The order in which each seed is shown the values of an example, at a step."""

    def __init__(self, orders: Tensor, steps: int) -> None:
        """orders: (R, K, values). steps: of each experience."""
        self._orders, self._steps = orders, steps

    def at(self, step: int | Tensor) -> Params:
        """{"order": (R, values)}"""
        number = torch.as_tensor(step, device=self._orders.device)
        experience = torch.div(number, self._steps, rounding_mode="floor").reshape(1)
        return {"order": self._orders.index_select(1, experience).squeeze(1)}


def _in_order(x: Tensor, order: Tensor) -> Tensor:
    """Each example's values in an order, x (R, N, *in_shape), order (R, N or 1, values)."""
    flat = x.flatten(2)
    return flat.gather(2, order.expand(flat.shape)).reshape(x.shape)


def _remembered(
    rows: Sequence[Curve], ends: Sequence[int], epoch: int
) -> tuple[list[float | None], list[float | None]]:
    """R_kj - R_jj and max_i R_ij - R_kj of each experience j that is over, k after this epoch.

    rows: the accuracies on it after each epoch. ends: last epochs, from 1, of each experience.
    """
    transfers: list[float | None] = []
    forgotten: list[float | None] = []
    for j, row in enumerate(rows):
        after, now = [row[end - 1] for end in ends[j:-1]], row[epoch - 1]
        known = [value for value in after if value is not None]
        whole = now is not None and len(known) == len(after)
        transfers.append(now - known[0] if whole and now is not None else None)
        forgotten.append(max(known) - now if whole and now is not None else None)
    return transfers, forgotten


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one is missing, or there are none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
