"""Training an experiment's seeds: as many together as fit, and errors with their cause."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from bioplaus.errors import BioplausError, PluginError
from bioplaus.experiments.experiment import Experiment
from bioplaus.system.device import PRECISIONS, suitable_threads, use_precision
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import TaskData, TrainingData, prepare
from bioplaus.training.execution import Execution, budget, checkpoints, groups, halved
from bioplaus.training.trainer import Progress, Splits, Trainer

Observer = Callable[[Experiment, Progress], None]


def train_groups(
    experiment: Experiment,
    data: TrainingData,
    seeds: Sequence[int],
    execution: Execution,
    observe: Observer = lambda experiment, progress: None,
) -> Iterator[Trainer]:
    """Train these seeds, as many together as fit; without a test split where there is none.

    A group that does not fit into memory after all is split in two, which is noted.
    PluginError where the rule raises.
    """
    network, rule, task = experiment.network, experiment.rule, experiment.task
    with blaming(experiment):
        splits = prepared(experiment, data, execution.device)
        waiting = groups(experiment, splits.train, seeds, execution)
        notes: list[str] = []
        while waiting:
            group = waiting.pop(0)
            with suitable_threads(len(group) * task.batch_size * network.widest_product()):
                try:
                    trainer = Trainer(
                        rule, network, splits, budget(experiment), group, execution.compile
                    )
                    trainer.train(
                        lambda progress: observe(experiment, progress),
                        checkpoints(execution, [experiment], data, group),
                    )
                except Exception as error:
                    notes.append(halved(error, len(group), experiment))
                    middle = len(group) // 2
                    waiting[:0] = [group[:middle], group[middle:]]
                    continue
            trainer.notes[:0] = notes
            yield trainer


def prepared(experiment: Experiment, data: TrainingData, device: torch.device) -> Splits:
    """The data as the experiment's network reads them; no test split where there is none."""
    use_precision(experiment.precision, device)
    shape, dtype = experiment.network.in_shape, PRECISIONS[experiment.precision]

    def ready(split: Split | None) -> Split | None:
        return None if split is None else prepare(split, shape, data.scale, dtype, device)

    train = prepare(data.train, shape, data.scale, dtype, device)
    return Splits(
        train, ready(data.validation), ready(data.test if isinstance(data, TaskData) else None)
    )


@contextlib.contextmanager
def blaming(experiment: Experiment) -> Iterator[None]:
    """Whatever a rule raises as a PluginError with one line."""
    rule, task = experiment.rule, experiment.task
    try:
        yield
    except BioplausError:
        raise
    except Exception as error:  # a plugin may raise anything; the other rules go on
        if os.environ.get("BIOPLAUS_TRACEBACK"):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginError(
            f"the rule {rule.name!r} failed on {task.name}: {type(error).__name__}: {error} "
            f"(line {where.lineno} of {Path(where.filename).name})"
        ) from error
