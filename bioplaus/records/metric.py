"""What a task's results are judged by, and whether more of it is better.

It follows from the task's content, so that no record has to say it. Accuracies are the fields
of that name; anything else is a curve among the record's metrics, "test_r2" say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bioplaus.records.schema import Record

Part = Literal["test", "validation"]


@dataclass(frozen=True)
class Metric:
    """One number of a seed on a split."""

    name: str
    """As in `test_NAME`."""
    words: str
    factor: float
    """What people read: so many times the number."""
    unit: str
    """Of what people read: "%", or nothing."""
    least: float
    most: float
    """No mean can lie beyond."""
    lower_is_better: bool = False

    def score(self, record: Record, part: Part = "test") -> float | None:
        """After the last epoch; None where it was not measured, or the seed has none."""
        if self.name == "accuracy":
            return record.test_accuracy if part == "test" else record.validation_accuracy
        curve = self.curve(record, part)
        return curve[-1] if curve else None

    def curve(self, record: Record, part: Part = "test") -> Sequence[float | None]:
        """After each epoch; [] where it was not measured."""
        if self.name == "accuracy":
            curves = record.curves
            return curves.test_accuracy if part == "test" else curves.validation_accuracy
        return record.curves.metrics.get(f"{part}_{self.name}", [])

    @property
    def heading(self) -> str:
        """`accuracy (%)`, or the words alone."""
        return f"{self.words} ({self.unit})" if self.unit else self.words

    @property
    def short(self) -> str:
        """Where there is no room: `(%)` for accuracy, which is what there mostly is."""
        return "(%)" if self.name == "accuracy" else self.heading

    @property
    def plural(self) -> str:
        """Of several seeds or tasks."""
        words = {"accuracy": "accuracies", "average_accuracy": "average accuracies"}
        return {**words, "loss": "losses"}.get(self.name, self.words)

    @property
    def steps(self) -> str:
        """What differences are counted in."""
        return "points" if self.unit else f"of {self.words}"

    def text(self, value: float, digits: int = 2) -> str:
        """`97.25 %`."""
        return f"{self.shown(value, digits)} {self.unit}".rstrip()

    def shown(self, value: float, digits: int = 2) -> str:
        """`97.25`."""
        return f"{self.factor * value:.{digits}f}" if self.unit else f"{value:.4g}"

    def signed(self, value: float, digits: int = 2) -> str:
        """`+0.31`, of a difference."""
        return f"{self.factor * value:+z.{digits}f}" if self.unit else f"{value:+z.4g}"

    def merit(self, value: float) -> float:
        """More is better."""
        return -value if self.lower_is_better else value

    @property
    def worst(self) -> float:
        """What nothing is worse than."""
        return self.most if self.lower_is_better else self.least

    def expected(self, mean: float, lived: float) -> float:
        """The merit of a mean that only so large a share of the seeds lived to.

        A seed that diverged is worth nothing: the least there is, or as far from it as the
        share makes of a number without one.
        """
        merit = self.merit(mean)
        return merit * lived if merit > 0 else merit / lived


ACCURACY = Metric("accuracy", "accuracy", 100.0, "%", 0.0, 1.0)
R2 = Metric("r2", "R2", 100.0, "%", -math.inf, 1.0)
LOSS = Metric("loss", "loss", 1.0, "", 0.0, math.inf, lower_is_better=True)
AVERAGE = Metric("average_accuracy", "average accuracy", 100.0, "%", 0.0, 1.0)
"""Over the experiences of a continual task, each counting the same."""
METRICS = {metric.name: metric for metric in (ACCURACY, R2, LOSS, AVERAGE)}


def metric_of(configuration: Mapping[str, Any]) -> Metric:
    """What a run, or a tuning, of that configuration is judged by."""
    task = configuration.get("task")
    return metric_of_task(task if isinstance(task, Mapping) else {})


def metric_of_task(content: Mapping[str, Any]) -> Metric:
    """The same of the content of a task."""
    named = METRICS.get(str(content.get("metric")))
    if named is not None:
        return named
    if content.get("continual") is not None:
        return AVERAGE
    goal = content.get("goal")
    kind = goal.get("kind") if isinstance(goal, Mapping) else None
    values = content.get("targets") == "values" or kind == "reconstruction"
    return R2 if values else ACCURACY
