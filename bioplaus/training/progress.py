"""What a training sees, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bioplaus.tasks.dataset import Split
from bioplaus.training.seed_outcome import Outcome


@dataclass(frozen=True)
class Splits:
    """The examples a run sees, scaled and on the device."""

    train: Split
    validation: Split | None
    test: Split | None


@dataclass(frozen=True)
class Progress:
    """Where a run stands, told a few times a second; the numbers are the last epoch's means."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float | None
    validation_accuracy: float | None
    measured: int = 0
    """The epoch, from 1, that the means are of; 0 before there are any."""


def progress(
    outcomes: Sequence[Outcome], step: int, steps: int, epoch: int, epochs: int
) -> Progress:
    """With the means over the seeds that live."""
    alive = [o for o in outcomes if o.diverged_epoch is None]
    losses = [v for o in alive for v in o.metrics.get("loss", [])[-1:] if v is not None]
    accuracies = [a for o in alive for a in o.validation_accuracy[-1:] if a is not None]
    return Progress(
        step=step,
        steps=steps,
        epoch=epoch,
        epochs=epochs,
        measured=max(len(o.metrics.get("loss", [])) for o in outcomes),
        loss=sum(losses) / len(losses) if losses else None,
        validation_accuracy=sum(accuracies) / len(accuracies) if accuracies else None,
    )
