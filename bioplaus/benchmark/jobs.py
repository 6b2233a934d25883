"""Jobs: what a benchmark computes, as data that travels to a worker and facts that come back.

A job reads its own data and writes nothing but checkpoints, to go on from where it is run
again: what it gives is written by the process that handed it out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from bioplaus.errors import BioplausError
from bioplaus.experiments.experiment import Experiment
from bioplaus.plugins.from_file import Carried
from bioplaus.records.metric import ACCURACY, Metric, metric_of_task
from bioplaus.records.schema import Record, Trial
from bioplaus.records.store import Store
from bioplaus.running.seed_records import SeedRecords
from bioplaus.system.secrets import redacted
from bioplaus.tasks.data_cache import Need, load, load_data
from bioplaus.tasks.task import TrainingData
from bioplaus.training.configurations import train_stacked
from bioplaus.training.execution import Execution
from bioplaus.training.gpu_memory import gpu_bytes
from bioplaus.training.groups import train_groups
from bioplaus.training.progress import Progress

R = TypeVar("R", covariant=True)

Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Resources:
    """What a job takes while it runs."""

    cpus: float = 1.0
    gpu_bytes: int | None = None
    """Of a GPU's memory; None for a job that needs no GPU."""


class Job(Carried, ABC, Generic[R]):
    """Something to train; pickles, with the rules that come from files, and gives what pickles."""

    @property
    @abstractmethod
    def title(self) -> str:
        """A few words for people."""

    def need(self) -> Need | None:
        """The data that it will ask `bioplaus.tasks.data_cache` for, if any."""
        return None

    def resources(self) -> Resources:
        """What it takes while it runs; may take a while to count."""
        return Resources()

    def noting(self, result: Any, losses: Sequence[str]) -> R:
        """The result, with a note on why workers that ran this job before were lost."""
        given: R = result
        return given

    @abstractmethod
    def run(self, watch: Watch) -> R:
        """Do it; BioplausError where it cannot be done. `watch` is told of every step."""


@dataclass(frozen=True)
class CellJob(Job[list[Record]]):
    """Seeds of one experiment, trained together; gives their records."""

    experiment: Experiment
    seeds: tuple[int, ...]
    device: str
    checkpoints: Path | None = None
    """A folder for them; None for none."""

    @property
    def title(self) -> str:
        return f"{self.experiment.rule.name} on {self.experiment.task.name}"

    def need(self) -> Need:
        return Need.of(self.experiment.task, test=True)

    def resources(self) -> Resources:
        return _resources(self.experiment, self.need(), len(self.seeds), self.device)

    def noting(self, result: Any, losses: Sequence[str]) -> list[Record]:
        records: list[Record] = result
        note = {"lost_attempts": [redacted(loss) for loss in losses]} if losses else {}
        return [r.model_copy(update={"provenance": r.provenance | note}) for r in records]

    def run(self, watch: Watch) -> list[Record]:
        data = load_data(self.experiment.task)
        trained = train_groups(
            self.experiment,
            data,
            self.seeds,
            Execution(torch.device(self.device), checkpoints=self.checkpoints),
            lambda _, progress: watch(progress),
        )
        # the store is for paths only: nothing is written here
        cell = SeedRecords(self.experiment, Store("."), self.experiment.configuration(data))
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
    checkpoints: Path | None = None
    """A folder for them; None for none."""

    @property
    def title(self) -> str:
        experiment = self.attempts[0].experiment
        numbers = ", ".join(str(a.number) for a in self.attempts)
        word = "trial" if len(self.attempts) == 1 else "trials"
        return f"{experiment.rule.name} on {experiment.task.name}, {word} {numbers}"

    def need(self) -> Need:
        return Need.of(self.attempts[0].experiment.task, test=False)

    def resources(self) -> Resources:
        replicas = len(self.attempts) * len(self.seeds)
        return _resources(self.attempts[0].experiment, self.need(), replicas, self.device)

    def run(self, watch: Watch) -> list[Trial]:
        data = load(self.need())
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
        execution = Execution(torch.device(self.device), checkpoints=self.checkpoints)
        scores = train_stacked(experiments, data, self.seeds, execution, watch)
        return [
            finished_trial(
                attempt.number,
                dict(attempt.settings),
                score,
                metric_of_task(attempt.experiment.task.content()),
            )
            for attempt, score in zip(attempts, scores, strict=True)
        ]

    def _failed(self, attempt: Attempt, reason: str) -> Trial:
        return failed_trial(attempt.number, dict(attempt.settings), reason, len(self.seeds))


def finished_trial(
    number: int,
    settings: dict[str, object],
    accuracies: list[float | None],
    metric: Metric = ACCURACY,
) -> Trial:
    """A trial from its seeds' validation accuracies, None where one diverged and counts 0.

    Of another metric there is nothing that counts as little: the trial then has no score.
    """
    mean: float | None = sum(a or 0.0 for a in accuracies) / len(accuracies)
    if None in accuracies and metric.name != "accuracy":
        mean = None
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
        reason=redacted(reason),
    )


def _resources(experiment: Experiment, need: Need, replicas: int, device: str) -> Resources:
    if not device.startswith("cuda"):
        return Resources()
    return Resources(gpu_bytes=gpu_bytes(experiment, load(need), replicas))
