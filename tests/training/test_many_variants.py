"""A rule that makes a new object for each step: the same results, within bounds, and it is said."""

from __future__ import annotations

from typing import Self

import torch

from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import RuleConfig
from bioplaus.testing.networks import make_network, synthetic
from bioplaus.training.budget import Budget
from bioplaus.training.progress import Splits
from bioplaus.training.stepper import MOST_VARIANTS
from bioplaus.training.trainer import Trainer
from tests.helpers.faulty_rules import Honest


class Anew(Honest):
    """Itself anew at each step."""

    name = "anew"

    def variant(self, step: int) -> Self:
        return type(self)(self.config)


def trained(cls: type[Honest], epochs: int) -> Trainer:
    net = make_network((6, 5, 4), "tanh", "cross_entropy")
    train, test = synthetic(net, 100, "train"), synthetic(net, 20, "test")
    budget = Budget(10, epochs, OptimizerSpec(lr=1e-2), None)
    trainer = Trainer(cls(RuleConfig()), net, Splits(train, None, test), budget, (0, 1))
    trainer.train()
    return trainer


def test_programs_are_bounded_and_no_bit_changes() -> None:
    plain, anew = trained(Honest, 8), trained(Anew, 8)  # 80 steps
    assert all(torch.equal(anew.params[n], plain.params[n]) for n in plain.params)
    assert len(anew.stepper.programs) == MOST_VARIANTS + 1
    *traced, rest = anew.stepper.programs
    assert [p.how for p in traced] == ["traced"] * MOST_VARIANTS and rest.how == "eager"
    assert rest.calls == 80 - MOST_VARIANTS
    assert "return the same object again" in rest.why
    assert anew.outcomes[0].metrics == plain.outcomes[0].metrics


def test_a_rule_that_stays_itself_is_one_program() -> None:
    assert [p.how for p in trained(Honest, 1).stepper.programs] == ["traced"]
