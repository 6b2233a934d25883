"""How long and how fast to learn."""

from __future__ import annotations

from dataclasses import dataclass

from bioplaus.experiments.experiment import Experiment
from bioplaus.learning.optimizers import OptimizerSpec


@dataclass(frozen=True)
class Budget:
    """What a training may spend: batches of one size, so many epochs, and its optimizers."""

    batch_size: int
    epochs: int
    optimizer: OptimizerSpec
    aux_optimizer: OptimizerSpec | None


def budget(experiment: Experiment) -> Budget:
    """The experiment's, for a trainer."""
    task = experiment.task
    return Budget(task.batch_size, task.epochs, experiment.optimizer, experiment.aux_optimizer)
