"""Tasks learned one after the other: experiences, and what their answers are chosen among.

The epochs of a task are shared out evenly among its experiences, in order: nothing tells a rule
where one ends, and its optimizer, its memory and the schedule of its learning rates go on. What
is compared is the harness's, the same for every rule: the permutations, and the order within an
epoch, are drawn from the seed's own streams; the classes of an experience are the same for all.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.numerics.random_streams import Stream

Scenario = Literal["domain", "class", "task"]


class Continual(BaseModel):
    """Experiences in turn, made of one data set.

    permuted: every example in each of them, its values in another order from the second on
    (Kirkpatrick et al. 2017): the domain changes, the classes do not. split: the classes in
    order, as many to each (Zenke et al. 2017), with one output layer for all of them.

    Scenarios are those of van de Ven et al. (2022). "class": answers are chosen among all the
    classes. "task": it is told at a test which experience an example is from, and answers are
    chosen among its classes. Training is the same in both: all units of the output are taught.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["permuted", "split"]
    experiences: int = Field(5, ge=2, le=1000, description="how many, learned in turn")
    scenario: Scenario | None = Field(
        None, description='of split: "class" (default) or "task"; permuted is "domain"'
    )

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.scenario is not None and (self.kind == "permuted") != (self.scenario == "domain"):
            due = '"domain"' if self.kind == "permuted" else '"class" or "task"'
            raise ValueError(f"the scenario of {self.kind} experiences is {due}")
        return self

    def check(self, classes: int, epochs: int, evaluate_every: int = 1) -> None:
        """ConfigError where there are too few epochs or classes, they cannot be shared out, or
        the end of an experience would not be evaluated."""
        if epochs % self.experiences:
            more = epochs + self.experiences - epochs % self.experiences
            raise ConfigError(
                f"{self.experiences} experiences cannot share {epochs} epochs evenly: set epochs "
                f"to {more}, say"
            )
        each = epochs // self.experiences
        if each % evaluate_every:
            raise ConfigError(
                f"an evaluation every {evaluate_every} epochs misses the end of experiences of "
                f"{each}: set evaluate_every to one that divides it"
            )
        if self.kind == "split" and classes % self.experiences:
            raise ConfigError(
                f"{self.experiences} experiences cannot share {classes} classes evenly"
            )

    def experience(self, epoch: int, epochs: int) -> int:
        """Which one an epoch, from 1, is of, from 0."""
        return (epoch - 1) * self.experiences // epochs

    def last_epoch(self, experience: int, epochs: int) -> int:
        """Of an experience, from 0, the last epoch, from 1."""
        return (experience + 1) * epochs // self.experiences

    def order(self, seed: int, experience: int, values: int) -> Tensor:
        """Where a seed's examples of an experience, from 0, have each value from, (values,)."""
        if experience == 0 or self.kind == "split":
            return torch.arange(values)
        return Stream(seed).at("permuted values", experience).permutation(values)

    def of_classes(self, y: Tensor, classes: int) -> Tensor:
        """Which experience of a split each of those classes is of, from 0, (N,)."""
        return y // (classes // self.experiences)

    def allowed(self, experience: Tensor, classes: int) -> Tensor:
        """Which classes answers to those examples may name, bool (N, classes)."""
        if self.scenario != "task":
            return experience.new_ones(len(experience), classes, dtype=torch.bool)
        named = torch.arange(classes, device=experience.device) // (classes // self.experiences)
        return named[None] == experience[:, None]
