"""Configurations that train together are those that train alone."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from bioplaus import tasks
from bioplaus.benchmark.tuning import plan_tuning
from bioplaus.errors import UnsupportedError
from bioplaus.experiments.experiment import Experiment, configure
from bioplaus.learning.batching import Replica
from bioplaus.learning.rule import LearningRule
from bioplaus.plugins import registry
from bioplaus.records.schema import TuningBudget
from bioplaus.tasks.task import TrainingData, read_task
from bioplaus.training.budget import budget as budget_of
from bioplaus.training.configurations import structure
from bioplaus.training.groups import prepared
from bioplaus.training.trainer import Trainer


@pytest.mark.parametrize("name", registry.names("rule"))
def test_trials_that_train_together_are_those_that_train_alone(name: str) -> None:
    """Learning rates, decays and options of their own: the same validation losses, in float64."""
    rule: type[LearningRule] = registry.load("rule", name)  # type: ignore[type-arg]
    for task in (read_task(t) for t in tasks.names() if t.startswith("digits")):
        with contextlib.suppress(UnsupportedError):
            configure(name, task, {})
            break
    data = task.load_training_data()
    few = replace(data, train=data.train[torch.arange(60)])
    task = task.updated({"batch_size": 20})
    budget = TuningBudget(trials=2, seeds=1, epochs=2)
    slow = ("steps", "free_steps", "nudged_steps")
    settings = {option: 3 for option in slow if option in rule.Config.model_fields}
    plan = plan_tuning(name, task, settings, budget, few, "fp64")
    point = {setting: dimension.at(0.3) for setting, dimension in plan.space.items()}
    experiments = [plan.default, plan.experiment(point)]
    assert len({structure(e) for e in experiments}) == 1, "some option is not stackable"
    together = trained_params(experiments, few, plan.seeds)
    for experiment, ours in zip(experiments, together, strict=True):
        (theirs,) = trained_params([experiment], few, plan.seeds)
        for parameter, tensor in theirs.items():
            assert torch.allclose(ours[parameter], tensor, rtol=1e-7, atol=1e-9), parameter
        sums = [{float(trained[p].sum()) for trained in together} for p in theirs]
        assert max(len(each) for each in sums) == len(experiments), "nothing differs"


def trained_params(
    experiments: Sequence[Experiment], data: TrainingData, seeds: Sequence[int]
) -> list[dict[str, torch.Tensor]]:
    """Each experiment's parameters after training, its seeds stacked."""
    first = experiments[0]
    replicas = [
        Replica(seed, e.rule, e.optimizer, e.aux_optimizer) for e in experiments for seed in seeds
    ]
    trainer = Trainer(
        first.rule,
        first.network,
        prepared(first, data, torch.device("cpu")),
        budget_of(first),
        [r.seed for r in replicas],
        each=replicas,
        probe=False,
    )
    trainer.train()
    size = len(seeds)
    return [
        {name: t[i : i + size].clone() for name, t in trainer.params.items()}
        for i in range(0, len(replicas), size)
    ]
