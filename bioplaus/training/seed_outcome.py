"""What became of each seed of a training, and the same as tensors for a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bioplaus.learning.rule import State
from bioplaus.network.layer import Params

Curve = list[float | None]


@dataclass
class Outcome:
    """What became of one seed."""

    seed: int
    metrics: dict[str, Curve] = field(default_factory=dict)
    validation_accuracy: Curve = field(default_factory=list)
    test_accuracy: Curve = field(default_factory=list)
    alignment: dict[str, dict[str, Curve]] = field(default_factory=dict)
    diverged_epoch: int | None = None
    params: Params = field(default_factory=dict)
    state: State = field(default_factory=lambda: State({}, {}))

    def curves(self) -> Iterator[tuple[tuple[str, ...], Curve]]:
        """Every curve with its name."""
        yield ("validation_accuracy",), self.validation_accuracy
        yield ("test_accuracy",), self.test_accuracy
        for name, curve in self.metrics.items():
            yield ("metrics", name), curve
        for reference, numbers in self.alignment.items():
            for name, curve in numbers.items():
                yield ("alignment", reference, name), curve

    def _curve(self, name: tuple[str, ...]) -> Curve:
        """The curve of that name, made where there is none yet."""
        match name:
            case ("metrics", metric):
                return self.metrics.setdefault(metric, [])
            case ("alignment", reference, number):
                return self.alignment.setdefault(reference, {}).setdefault(number, [])
            case _:
                curve: Curve = getattr(self, name[0])
                return curve


def to_tensors(outcomes: Sequence[Outcome]) -> dict[str, Tensor]:
    """The curves so far, each (R, epochs) in float64, and where each seed diverged, (R)."""
    found = {"diverged": torch.tensor([o.diverged_epoch or 0 for o in outcomes])}
    curves = [dict(outcome.curves()) for outcome in outcomes]
    for name in curves[0]:
        rows = [[math.nan if v is None else v for v in curve[name]] for curve in curves]
        found["/".join(name)] = torch.tensor(rows, dtype=torch.float64)
    return found


def from_tensors(tensors: Mapping[str, Tensor], seeds: Sequence[int]) -> list[Outcome]:
    """The outcomes that `to_tensors` was given; NaN and null are one, as in a record."""
    outcomes = [Outcome(seed) for seed in seeds]
    for key, tensor in tensors.items():
        for outcome, row in zip(outcomes, tensor.tolist(), strict=True):
            if key == "diverged":
                outcome.diverged_epoch = row or None
            else:
                # a rule may call a metric what it likes
                parts = key.split("/", 1 if key.startswith("metrics/") else 2)
                curve = outcome._curve(tuple(parts))
                curve += [None if math.isnan(value) else value for value in row]
    return outcomes
