"""Learning rates that change over a training, by one factor for all of a rule's optimizers."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from bioplaus.errors import ConfigError
from bioplaus.system.toml_files import TABLE


class Schedule(BaseModel):
    """What the learning rate is multiplied by at each step; the same for every rule and seed.

    After the warm-up, with t from 0 at its end to 1 at the end of the training: cosine is
    (1 + cos(pi t)) / 2 (Loshchilov and Hutter 2017, one period), linear is 1 - t, step is
    `gamma` to the number of times that `every` epochs have passed, constant is 1. In the warm-up
    it rises linearly to 1, at its last step.

    Example:

        >>> half = Schedule(kind="linear", warmup=1)
        >>> [half.factor(step, steps_per_epoch=2, epochs=3) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """

    model_config = TABLE

    kind: Literal["cosine", "linear", "step", "constant"] = "cosine"
    warmup: float = Field(0.0, ge=0, description="epochs in which the rate rises")
    gamma: float = Field(0.1, gt=0, le=1, description="for step: the factor each time")
    every: float = Field(10.0, gt=0, description="for step: epochs between two of these times")

    @model_validator(mode="after")
    def _of_steps(self) -> Schedule:
        usual = Schedule.model_fields
        for name in ("gamma", "every"):
            if self.kind != "step" and getattr(self, name) != usual[name].default:
                raise ValueError(f'{name} is for kind = "step", and this one is {self.kind}')
        return self

    def check(self, epochs: int) -> None:
        """ConfigError where a training of so many epochs is over before its warm-up is."""
        if self.warmup >= epochs:
            raise ConfigError(
                f"schedule: warmup = {self.warmup:g} leaves nothing of epochs = {epochs}: make it "
                "shorter than the training"
            )

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """At a step, from 0."""
        rising = round(self.warmup * steps_per_epoch)
        if step < rising:
            return (step + 1) / rising
        rest = epochs * steps_per_epoch - rising
        passed = min(1.0, (step - rising) / rest) if rest > 0 else 1.0
        match self.kind:
            case "cosine":
                return (1 + math.cos(math.pi * passed)) / 2
            case "linear":
                return 1 - passed
            case "step":
                return self.gamma ** math.floor((step - rising) / (self.every * steps_per_epoch))
            case _:
                return 1.0
