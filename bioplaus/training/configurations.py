"""Configurations of one structure, trained together: they differ in numbers alone.

Learning rates and the like go to the optimizer as settings of each replica, options that
the rule calls stackable into its update as tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from bioplaus.experiments.experiment import Experiment
from bioplaus.learning.batching import Replica
from bioplaus.system.device import suitable_threads
from bioplaus.tasks.task import TrainingData
from bioplaus.training.execution import Execution, budget, checkpoints, fitting, halved
from bioplaus.training.groups import blaming, prepared
from bioplaus.training.trainer import Progress, Splits, Trainer

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
    """The validation accuracies after the last epoch of each experiment's seeds.

    None for a seed that diverged. Experiments of one `structure`. PluginError where the
    rule raises.
    """
    first = experiments[0]
    replicas = [
        Replica(seed, e.rule, e.optimizer, e.aux_optimizer) for e in experiments for seed in seeds
    ]
    found: list[float | None] = []
    with blaming(first):
        splits = prepared(first, data, execution.device)
        most = fitting(first, splits.train, len(replicas), execution)
        while replicas[len(found) :]:
            group = replicas[len(found) : len(found) + most]
            multiply_adds = len(group) * first.task.batch_size * first.network.widest_product()
            with suitable_threads(multiply_adds):
                try:
                    trainer = _trainer(first, group, splits, execution)
                    trainer.train(
                        watch, checkpoints(execution, experiments, data, trainer.seeds, len(found))
                    )
                except Exception as error:
                    halved(error, len(group), first)
                    most = len(group) // 2
                    continue
            found += [
                None if o.diverged_epoch is not None else o.validation_accuracy[-1]
                for o in trainer.outcomes
            ]
    return [found[i : i + len(seeds)] for i in range(0, len(found), len(seeds))]


def _trainer(
    first: Experiment, group: Sequence[Replica], splits: Splits, execution: Execution
) -> Trainer:
    seeds = [replica.seed for replica in group]
    return Trainer(
        group[0].rule,
        first.network,
        splits,
        budget(first),
        seeds,
        execution.compile,
        each=group,
        probe=False,
    )
