"""Training replicas, as many together as fit, and errors with their cause."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import torch

from bioplaus.errors import BioplausError
from bioplaus.experiments.experiment import Experiment
from bioplaus.learning.batching import Replica
from bioplaus.learning.hints import hint_for
from bioplaus.system import blame
from bioplaus.system.device import PRECISIONS, suitable_threads, use_precision
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.door import load_dataset
from bioplaus.tasks.task import TaskData, TrainingData, prepare
from bioplaus.training.augmentation import normalised
from bioplaus.training.budget import budget
from bioplaus.training.execution import Execution
from bioplaus.training.memory import fitting, is_full
from bioplaus.training.progress import Progress, Splits
from bioplaus.training.trainer import Trainer

Observer = Callable[[Experiment, Progress], None]
T = TypeVar("T")


def train_groups(
    experiment: Experiment,
    data: TrainingData,
    seeds: Sequence[int],
    execution: Execution,
    observe: Observer = lambda experiment, progress: None,
) -> Iterator[Trainer]:
    """Train these seeds, as many together as fit; without a test split where there is none.

    PluginError where the rule raises.
    """
    return train_together(
        [experiment], data, seeds, execution, lambda progress: observe(experiment, progress)
    )


def train_together(
    experiments: Sequence[Experiment],
    data: TrainingData,
    seeds: Sequence[int],
    execution: Execution,
    watch: Callable[[Progress], None],
    probe: bool = True,
) -> Iterator[Trainer]:
    """Train each experiment's seeds in turn, as many replicas together as fit.

    experiments: of one structure (`configurations.structure`). A group that does not fit
    into memory after all is split in two, which is noted. PluginError where the rule raises.
    """
    first = experiments[0]
    replicas = [
        Replica(seed, e.rule, e.optimizer, e.aux_optimizer) for e in experiments for seed in seeds
    ]
    with blaming(first):
        splits = prepared(first, data, execution.device)
        most = execution.max_replicas or fitting(first, splits.train, len(replicas))
        waiting = evenly(replicas, most)
        notes: list[str] = []
        done = 0
        while waiting:
            group = waiting.pop(0)
            multiply_adds = len(group) * first.task.batch_size * first.network.widest_product()
            with suitable_threads(multiply_adds):
                try:
                    trainer = _trainer(first, group, splits, execution, probe)
                    kept = execution.checkpoints_of(experiments, data, trainer.seeds, done)
                    trainer.train(watch, kept)
                except Exception as error:
                    notes.append(_halved(error, len(group), first))
                    waiting[:0] = evenly(group, -(-len(group) // 2))
                    continue
            done += len(group)
            trainer.notes[:0] = notes
            yield trainer


def evenly(items: Sequence[T], most: int) -> list[list[T]]:
    """The items in as few groups of at most so many as will do, of about one size."""
    number = -(-len(items) // most)
    size, larger = divmod(len(items), max(1, number))
    starts = [i * size + min(i, larger) for i in range(number + 1)]
    return [list(items[a:b]) for a, b in itertools.pairwise(starts)]


def _trainer(
    first: Experiment,
    group: Sequence[Replica],
    splits: Splits,
    execution: Execution,
    probe: bool,
) -> Trainer:
    return Trainer(
        group[0].rule,
        first.network,
        splits,
        budget(first),
        [replica.seed for replica in group],
        execution.compile,
        each=group,
        probe=probe,
        measured=execution.measured,
    )


def _halved(error: Exception, size: int, experiment: Experiment) -> str:
    """A note that a group of so many did not fit into memory; any other error is raised again.

    BioplausError where a single replica does not fit.
    """
    if not is_full(error):
        raise error
    what = f"{experiment.rule.name} on {experiment.task.name}"
    if size == 1:
        raise BioplausError(
            f"{what} does not fit into memory, even with one seed at a time; a smaller batch may: "
            f"--set task.batch_size={max(1, experiment.task.batch_size // 2)}"
        ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return f"{what}: {size} seeds together did not fit into memory, so they trained in two groups"


def prepared(experiment: Experiment, data: TrainingData, device: torch.device) -> Splits:
    """The data as the experiment's network reads them; no test split where there is none."""
    use_precision(experiment.precision, device)
    shape, dtype = experiment.network.in_shape, PRECISIONS[experiment.precision]

    def ready(split: Split | None) -> Split | None:
        return None if split is None else prepare(split, shape, data.scale, dtype, device)

    splits = [data.train, data.validation, data.test if isinstance(data, TaskData) else None]
    train, validation, test = map(ready, splits)
    assert train is not None
    if experiment.task.normalise:
        raw, own = load_dataset(experiment.task.dataset).shape, train.x
        train, validation, test = (
            None if split is None else Split(normalised(split.x, own, raw), split.y)
            for split in (train, validation, test)
        )
        assert train is not None
    return Splits(train, validation, test)


def blaming(experiment: Experiment) -> AbstractContextManager[None]:
    """Whatever a rule raises as a PluginError with one line."""
    rule, task = experiment.rule, experiment.task
    return blame.blaming(f"the rule {rule.name!r} failed on {task.name}", rule, hint_for)
