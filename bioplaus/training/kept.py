"""The best network of each seed so far, by its validation, and who has stopped looking for one.

Replicas that have stopped are carried along until the last of their group stops, at its cost
in time, and no fact of them changes: dropping them would change the shapes of what the others
compute, and with them their last bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.records.metric import Metric
from bioplaus.training.seed_outcome import Curve, Outcome


@dataclass(frozen=True)
class Stopping:
    """By which metric of the validation split, and after how many epochs without a better one."""

    patience: int
    metric: Metric

    def best(self, curve: Curve) -> int | None:
        """The first epoch, from 1, with the best validation; None where none is known."""
        known = [
            (-self.metric.merit(value), epoch)
            for epoch, value in enumerate(curve, start=1)
            if value is not None and math.isfinite(value)
        ]
        return min(known)[1] if known else None


class Kept:
    """The networks that are the result if nothing better comes, one of each seed."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping
        self._tensors: dict[str, Tensor] = {}

    @property
    def mark(self) -> str:
        """What is validated: "validation_accuracy", say."""
        return f"validation_{self._stopping.metric.name}"

    def note(self, outcomes: Sequence[Outcome], epoch: int, params: Params, state: State) -> None:
        """Look at what an epoch, from 1, has brought to each of the replicas.

        To be told of the first epoch in any case: who diverges later has what was kept before,
        whoever else trains.
        """
        kept = [self._note(outcome, epoch) for outcome in outcomes]
        now = dict(_named(params, state))
        if not self._tensors:
            self._tensors = {name: tensor.clone() for name, tensor in now.items()}
        if not any(kept):
            return
        device = next(iter(now.values())).device
        rows = torch.tensor([i for i, keep in enumerate(kept) if keep], device=device)
        for name, tensor in now.items():
            self._tensors[name][rows] = tensor[rows]

    def _note(self, outcome: Outcome, epoch: int) -> bool:
        """Whether this epoch's network is kept."""
        if outcome.is_over:
            return False
        best = self._stopping.best(outcome.curve(self.mark))
        if best is not None and epoch - best >= self._stopping.patience:
            outcome.stopped_epoch = epoch
        return best in (None, epoch)

    def close(self, outcomes: Sequence[Outcome]) -> None:
        """Cut each curve to the epoch of the network that is kept."""
        for outcome in outcomes:
            if outcome.diverged_epoch is None:
                curve = outcome.curve(self.mark)
                kept = self._stopping.best(curve) or len(curve)
                outcome.validation_after = curve[kept:]
                for _, each in outcome.curves():
                    del each[kept:]

    def networks(self, params: Params, state: State) -> tuple[Params, State]:
        """The networks kept, stacked, in the place of those as they are now."""
        if not self._tensors:
            return params, state
        parts = [
            {name: self._tensors[f"{part}/{name}"] for name in tensors}
            for part, tensors in _parts(params, state).items()
        ]
        return parts[0], State(*parts[1:])

    def snapshot(self) -> dict[str, Tensor]:
        """Shares storage with it."""
        return dict(self._tensors)

    def restore(self, snapshot: Mapping[str, Tensor], device: torch.device) -> None:
        """Go on from a snapshot."""
        self._tensors = {name: tensor.to(device) for name, tensor in snapshot.items()}


def _parts(params: Params, state: State) -> dict[str, Params]:
    return {"params": params, "aux": state.aux, "memory": state.memory}


def _named(params: Params, state: State) -> Iterator[tuple[str, Tensor]]:
    for part, tensors in _parts(params, state).items():
        yield from ((f"{part}/{name}", tensor) for name, tensor in tensors.items())
