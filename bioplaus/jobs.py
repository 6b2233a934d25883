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

from bioplaus.errors import BioplausError
from bioplaus.execution import Execution
from bioplaus.experiment import Experiment
from bioplaus.plugin_file import Carried
from bioplaus.records import Record, Trial
from bioplaus.runner import Cell, train_groups
from bioplaus.stacked import train_stacked
from bioplaus.store import Store
from bioplaus.task import Task, TaskData, TrainingData
from bioplaus.trainer import Progress

R = TypeVar("R", covariant=True)

Watch = Callable[[Progress], None]


class Job(Carried, ABC, Generic[R]):
    """Something to train; pickles, with the rules that come from files, and gives what pickles."""

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
class Attempt:
    """One configuration to try: `experiment` has it in full, the trial's epochs included."""

    number: int
    settings: tuple[tuple[str, object], ...]
    experiment: Experiment


@dataclass(frozen=True)
class TrialJob(Job[list[Trial]]):
    """Configurations tried on the training data alone; no test split is ever read.

    They are of one structure and train together; where their rule cannot do that after
    all, one after the other.
    """

    attempts: tuple[Attempt, ...]
    seeds: tuple[int, ...]
    device: str

    @property
    def title(self) -> str:
        experiment = self.attempts[0].experiment
        numbers = ", ".join(str(a.number) for a in self.attempts)
        word = "trial" if len(self.attempts) == 1 else "trials"
        return f"{experiment.rule.name} on {experiment.task.name}, {word} {numbers}"

    def run(self, watch: Watch) -> list[Trial]:
        data = _training_data(_data_content(self.attempts[0].experiment.task))
        try:
            return self._together(self.attempts, data, watch)
        except BioplausError as error:
            if len(self.attempts) == 1:
                return [self._failed(self.attempts[0], str(error))]
        return [trial for a in self.attempts for trial in self._alone(a, data, watch)]

    def _alone(self, attempt: Attempt, data: TrainingData, watch: Watch) -> list[Trial]:
        try:
            return self._together((attempt,), data, watch)
        except BioplausError as error:
            return [self._failed(attempt, str(error))]

    def _together(
        self, attempts: tuple[Attempt, ...], data: TrainingData, watch: Watch
    ) -> list[Trial]:
        experiments = [attempt.experiment for attempt in attempts]
        execution = Execution(torch.device(self.device))
        scores = train_stacked(experiments, data, self.seeds, execution, watch)
        return [
            finished_trial(attempt.number, dict(attempt.settings), score)
            for attempt, score in zip(attempts, scores, strict=True)
        ]

    def _failed(self, attempt: Attempt, reason: str) -> Trial:
        return failed_trial(attempt.number, dict(attempt.settings), reason, len(self.seeds))


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
