"""Configurations of one structure, trained together: they differ in numbers alone.

Learning rates and the like go to the optimizer as settings of each replica, options that
the rule calls stackable into its update as tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from bioplaus.experiments.experiment import Experiment
from bioplaus.records.metric import metric_of_task
from bioplaus.tasks.task import TrainingData
from bioplaus.training.execution import Execution
from bioplaus.training.groups import train_together
from bioplaus.training.progress import Progress

_SMALL_PRODUCT = 1e7
"""Multiply-adds in a CPU step's largest product up to which another replica costs less than
a step of its own: as many as leave one thread enough to do (see `suitable_threads`)."""
_ON_A_GPU = 64


def structure(experiment: Experiment) -> str:
    """What experiments must share to train together."""
    stackable = set(experiment.rule.stackable)
    options = experiment.rule.config.model_dump(mode="json", exclude=stackable)
    auxiliary = experiment.aux_optimizer
    content = {
        "task": experiment.task.model_dump(mode="json"),
        "rule": experiment.rule.name,
        "options": options,
        "optimizers": [experiment.optimizer.name, auxiliary and auxiliary.name],
        "precision": experiment.precision,
    }
    return json.dumps(content, sort_keys=True)


def most_together(experiment: Experiment, device_type: str) -> int:
    """How many replicas are quicker together than apart, at least one."""
    if device_type != "cpu":
        return _ON_A_GPU
    product = experiment.task.batch_size * experiment.network.widest_product()
    return max(1, int(_SMALL_PRODUCT // product))


def train_stacked(
    experiments: Sequence[Experiment],
    data: TrainingData,
    seeds: Sequence[int],
    execution: Execution,
    watch: Callable[[Progress], None],
) -> list[list[float | None]]:
    """The validation accuracies, or what else the task's metric is, of each experiment's seeds.

    None for a seed that diverged. Experiments of one `structure`. PluginError where the
    rule raises.
    """
    trainers = train_together(experiments, data, seeds, execution, watch, probe=False)
    metric = metric_of_task(experiments[0].task.content())
    name = f"validation_{metric.name}"
    found = [
        None if o.diverged_epoch is not None else o.last(name)
        for trainer in trainers
        for o in trainer.outcomes
    ]
    return [found[i : i + len(seeds)] for i in range(0, len(found), len(seeds))]
