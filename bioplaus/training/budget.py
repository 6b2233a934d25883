"""How long and how fast to learn, and from what."""

from __future__ import annotations

from dataclasses import dataclass

from bioplaus.experiments.experiment import Experiment
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.schedule import Schedule
from bioplaus.records.metric import metric_of_task
from bioplaus.tasks.door import load_dataset
from bioplaus.tasks.pruning import Pruning
from bioplaus.tasks.task import Task
from bioplaus.training.augmentation import AugmentedClasses
from bioplaus.training.experiences import Experiences
from bioplaus.training.kept import Stopping
from bioplaus.training.lesson import CLASSES, Lesson, Reconstruction, TwoViews, Values
from bioplaus.training.tickets import Dense, dense_of


@dataclass(frozen=True)
class Budget:
    """What a training may spend: batches of one size, so many epochs, and its optimizers."""

    batch_size: int
    epochs: int
    optimizer: OptimizerSpec
    aux_optimizer: OptimizerSpec | None
    lesson: Lesson = CLASSES
    schedule: Schedule | None = None
    pruning: Pruning | None = None
    evaluate_every: int = 1
    stopping: Stopping | None = None
    dense: Dense | None = None
    """What lottery tickets are read from, where `pruning` asks for them."""

    def is_evaluated(self, epoch: int) -> bool:
        """Whether an epoch, from 1, is one of those after which is measured; the last one is."""
        return epoch % self.evaluate_every == 0 or epoch == self.epochs

    @property
    def evaluations(self) -> int:
        """How many of them there are."""
        return -(-self.epochs // self.evaluate_every)


def budget(experiment: Experiment) -> Budget:
    """The experiment's, for a trainer."""
    task, early = experiment.task, experiment.task.early_stopping
    return Budget(
        task.batch_size,
        task.epochs,
        experiment.optimizer,
        experiment.aux_optimizer,
        lesson(task),
        task.schedule,
        task.pruning,
        task.evaluate_every or 1,
        Stopping(early.patience, metric_of_task(task.content())) if early else None,
        dense_of(experiment),
    )


def lesson(task: Task) -> Lesson:
    """What the task teaches."""
    if task.goal is not None:
        kind = TwoViews if task.goal.kind == "two-views" else Reconstruction
        return kind(task.goal, load_dataset(task.dataset).shape)
    if task.continual is not None:
        dataset = load_dataset(task.dataset)
        return Experiences(task.continual, dataset.classes, task.epochs, task.dataset)
    if task.augment is not None:
        return AugmentedClasses(task.augment, load_dataset(task.dataset).shape)
    return Values() if task.targets == "values" else CLASSES
