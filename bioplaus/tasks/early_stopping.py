"""When a seed has learned enough."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from bioplaus.errors import ConfigError
from bioplaus.system.toml_files import TABLE
from bioplaus.tasks.continual import Continual
from bioplaus.tasks.goal import Goal

Epochs = Annotated[int, Field(ge=1), AfterValidator(lambda n: None if n == 1 else n)]
"""Between two evaluations; 1 is the default, and in a record's key the same as that."""


class EarlyStopping(BaseModel):
    """A seed's result is its best network on the validation split, and it stops some time after.

    The best is that after the first epoch with the best validation, by the task's metric. Each
    seed stops by itself, the same under every rule and whatever trains beside it. A schedule of
    learning rates runs as if nobody stopped.
    """

    model_config = TABLE

    patience: int = Field(
        ge=1, description="epochs without a better validation, seen where it is evaluated"
    )

    def check(self, validation: int, continual: Continual | None, goal: Goal | None) -> None:
        """ConfigError where a task has nothing to stop by. validation: examples held out."""
        wrong = ""
        if not validation:
            wrong = "early_stopping goes by the validation split: set validation = 500, say"
        elif continual is not None:
            wrong = "early_stopping would leave experiences out: it is for data learned at once"
        elif goal is not None and goal.kind == "two-views":
            wrong = "early_stopping goes by answers to a validation split, and two views have none"
        if wrong:
            raise ConfigError(wrong)
