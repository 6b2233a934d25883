"""Jobs: what a benchmark computes, as data that travels to a worker and facts that come back.

A job reads its own data and writes nothing: the process that handed it out does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Generic, TypeVar

import torch

from bioplaus.execution import Execution
from bioplaus.experiment import Experiment
from bioplaus.records import Record, Trial
from bioplaus.runner import Cell, train_groups
from bioplaus.store import Store
from bioplaus.task import Task, TaskData, TrainingData
from bioplaus.trainer import Progress

R = TypeVar("R", covariant=True)

Watch = Callable[[Progress], None]


class Job(ABC, Generic[R]):
    """Something to train; pickles, and gives what pickles."""

    @property
    @abstractmethod
    def title(self) -> str:
        """A few words for people."""

    @abstractmethod
    def run(self, watch: Watch) -> R:
        """Do it; BioplausError where it cannot be done. `watch` is told of every step."""


@dataclass(frozen=True)
class CellJob(Job[list[Record]]):
    """Seeds of one experiment, trained together; gives their records."""

    experiment: Experiment
    seeds: tuple[int, ...]
    device: str

    @property
    def title(self) -> str:
        return f"{self.experiment.rule.name} on {self.experiment.task.name}"

    def run(self, watch: Watch) -> list[Record]:
        data = load_data(self.experiment.task)
        trained = train_groups(
            self.experiment,
            data,
            self.seeds,
            Execution(torch.device(self.device)),
            lambda _, progress: watch(progress),
        )
        # the store is for paths only: nothing is written here
        cell = Cell(self.experiment, Store("."), self.experiment.configuration(data))
        return [record for trainer in trained for record in cell.records(trainer)]


@dataclass(frozen=True)
class TrialJob(Job[Trial]):
    """One configuration tried on the training data alone; no test split is ever read.

    `experiment` is fully configured for it, epochs of the trial included.
    """

    experiment: Experiment
    number: int
    settings: tuple[tuple[str, object], ...]
    seeds: tuple[int, ...]
    device: str

    @property
    def title(self) -> str:
        name, task = self.experiment.rule.name, self.experiment.task.name
        return f"{name} on {task}, trial {self.number}"

    def run(self, watch: Watch) -> Trial:
        data = _training_data(_data_content(self.experiment.task))
        trained = train_groups(
            self.experiment,
            data,
            self.seeds,
            Execution(torch.device(self.device)),
            lambda _, progress: watch(progress),
        )
        found = [
            None if o.diverged_epoch is not None else o.validation_accuracy[-1]
            for trainer in trained
            for o in trainer.outcomes
        ]
        return finished_trial(self.number, dict(self.settings), found)


def finished_trial(
    number: int, settings: dict[str, object], accuracies: list[float | None]
) -> Trial:
    """A trial from its seeds' validation accuracies, None where one diverged and counts 0."""
    mean = sum(a or 0.0 for a in accuracies) / len(accuracies)
    return Trial(
        number=number,
        settings=settings,
        status="diverged" if None in accuracies else "complete",
        validation_accuracy=mean,
        seeds=accuracies,
    )


def failed_trial(number: int, settings: dict[str, object], reason: str, seeds: int) -> Trial:
    """A trial that raised."""
    return Trial(
        number=number,
        settings=settings,
        status="failed",
        validation_accuracy=None,
        seeds=[None] * seeds,
        reason=reason,
    )


def load_data(task: Task) -> TaskData:
    """The task's data, which tasks on the same data share."""
    return _all_data(_data_content(task))


def _data_content(task: Task) -> Task:
    """The task with only what decides its data, so that others on the same data share them."""
    other: dict[str, object] = {"name": "data", "description": "", "epochs": 1, "loss": "mse"}
    return task.model_copy(update=other | {"optimizer": None, "network": None})


@lru_cache(maxsize=2)
def _all_data(task: Task) -> TaskData:
    return task.load_data()


@lru_cache(maxsize=2)
def _training_data(task: Task) -> TrainingData:
    return task.load_training_data()


@cache
def usable_cores() -> int:
    """The cores that this process may use."""
    import os

    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
