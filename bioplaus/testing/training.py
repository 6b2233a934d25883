"""Checks of fifty steps of training: the same for a seed alone and among others, and again."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bioplaus.learning.batching import Rule, unstack
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.network.layer import Params
from bioplaus.numerics.random_streams import Stream
from bioplaus.testing.cases import Case
from bioplaus.testing.check import check
from bioplaus.testing.comparing import identical, rel, worst
from bioplaus.testing.failures import require
from bioplaus.testing.networks import synthetic
from bioplaus.testing.rounding import judge_rounding
from bioplaus.training.budget import Budget
from bioplaus.training.progress import Splits
from bioplaus.training.seed_outcome import EVALUATED, Outcome
from bioplaus.training.trainer import Trainer

CLOSE = 1e-10
"""Relative tolerance in float64 after fifty steps."""


@dataclass(frozen=True)
class Trained:
    """Where a seed stands after training."""

    outcome: Outcome
    aux: Params
    memory: Params


def trainer_for(case: Case, seeds: tuple[int, ...]) -> Trainer:
    """Fifty steps in five epochs, on Gaussian examples."""
    rule = case.rule
    optimizer = rule.optimizer_on(case.net) or OptimizerSpec(name="adam", lr=1e-3)
    own = rule.aux_optimizer
    budget = Budget(
        batch_size=10,
        epochs=5,
        optimizer=optimizer,
        aux_optimizer=optimizer if own == "same" else own,
    )
    train, test = synthetic(case.net, 104, "train"), synthetic(case.net, 20, "test")
    return Trainer(rule, case.net, Splits(train, None, test), budget, seeds)


def train(case: Case, seeds: tuple[int, ...], nudged: bool = False) -> dict[int, Trained]:
    """Every seed after fifty steps; `nudged`: from weights one unit in the last place away."""
    trainer = trainer_for(case, seeds)
    if nudged:
        with torch.no_grad():
            for tensor in trainer.params.values():
                tensor.mul_(1 + 2**-52)
    assert trainer.steps_per_epoch * trainer.budget.epochs == 50
    outcomes = trainer.train()
    return {
        seed: Trained(
            outcomes[index],
            {name: tensor[index].clone() for name, tensor in trainer.state.aux.items()},
            {name: tensor[index].clone() for name, tensor in trainer.state.memory.items()},
        )
        for index, seed in enumerate(seeds)
    }


_LAST: dict[tuple[type[Rule], str], Trained] = {}


def alone(case: Case) -> Trained:
    """Seed 3 trained alone, remembered from one check of a rule to the next."""
    key = case.cls, case.network
    if key not in _LAST:
        _LAST.clear()
        _LAST[key] = train(case, (3,))[3]
    return _LAST[key]


@check("replicas", "Training a seed among others is training it alone.", "default")
def replicas(case: Case) -> str:
    single, among = alone(case), train(case, (0, 1, 3, 7, 12))[3]
    diverged = single.outcome.diverged_epoch or among.outcome.diverged_epoch
    hint = "replicas are mixed, or something is kept in the object between steps"
    require(diverged is None, f"training diverged in epoch {diverged}", "lower the learning rate")
    found = differences(among, single)
    if max(found.values()) <= CLOSE:
        return "seed 3 among five, 50 steps"
    # what a change of the starting weights by their last place comes to is nobody's mixing
    by_rounding = differences(train(case, (3,), nudged=True)[3], single)
    for name, far in found.items():
        judge_rounding(by_rounding[name], f"after 50 steps the {name}")
        require(
            far <= max(CLOSE, 10 * by_rounding[name]),
            f"after 50 steps the {name} differ by {far:.1e}, where rounding explains "
            f"{by_rounding[name]:.1e}",
            hint,
        )
    return f"seed 3 among five, 50 steps: the same to {max(found.values()):.0e}, which is rounding"


def differences(ours: Trained, theirs: Trained) -> dict[str, float]:
    """How far apart two trainings end: parameters, states and the rule's own metrics' curves."""
    metrics = theirs.outcome.metrics
    return {
        "parameters": worst(ours.outcome.params, theirs.outcome.params),
        "auxiliary parameters": worst(ours.aux, theirs.aux),
        "memory": worst(ours.memory, theirs.memory),
        **{
            f"metric {name}": rel(_numbers(ours.outcome.metrics[name]), _numbers(curve))
            for name, curve in metrics.items()
            if not name.startswith(EVALUATED)  # a share or a count jumps where a number does not
        },
    }


def _numbers(curve: list[float | None]) -> torch.Tensor:
    return torch.tensor(curve, dtype=torch.float64)


@check("determinism", "Training again gives the same bits.", "default")
def determinism(case: Case) -> str:
    first, second = alone(case), train(case, (3,))[3]
    same = identical(
        (second.outcome.params, second.aux, second.memory),
        (first.outcome.params, first.aux, first.memory),
    )
    same = same and second.outcome.metrics == first.outcome.metrics
    require(
        same and second.outcome.test_accuracy == first.outcome.test_accuracy,
        "the same seed trained twice ends elsewhere",
        "all randomness comes from `noise` and from the stream that `init_state` is given",
    )
    return "50 steps"


@check("start", "A seed starts alike whatever the rule and the other seeds.", "default")
def start(case: Case) -> None:
    single, among = trainer_for(case, (3,)), trainer_for(case, (0, 3))
    begin = case.net.init(Stream(3).at("parameters"))
    hint = "`init_state` changes no parameters: it returns the rule's own state"
    for given, index in ((single, 0), (among, 1)):
        require(
            identical(unstack(given.params, index), begin), "seed 3 starts from other weights", hint
        )
    require(
        bool(torch.equal(single.batches(2)[:, 0], among.batches(2)[:, 1])),
        "seed 3 gets its examples in another order",
        hint,
    )


CHECKS = (replicas, determinism, start)
