"""What became of each seed of a training, and the same as tensors for a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from bioplaus.learning.rule import State
from bioplaus.network.layer import Params

Curve = list[float | None]
_ENDS = {"diverged": "diverged_epoch", "stopped": "stopped_epoch"}
T = TypeVar("T")

EVALUATED = ("test_", "validation_", "probe_")
"""How the names of what evaluations give begin, among a record's metrics."""


@dataclass
class Outcome:
    """What became of one seed."""

    seed: int
    metrics: dict[str, Curve] = field(default_factory=dict)
    validation_accuracy: Curve = field(default_factory=list)
    test_accuracy: Curve = field(default_factory=list)
    alignment: dict[str, dict[str, Curve]] = field(default_factory=dict)
    diverged_epoch: int | None = None
    stopped_epoch: int | None = None
    """After which it stopped early; None where it did not."""
    validation_after: Curve = field(default_factory=list)
    """Where the best network is kept, the validation after each later epoch."""
    params: Params = field(default_factory=dict)
    state: State = field(default_factory=lambda: State({}, {}))

    @property
    def is_over(self) -> bool:
        """Whether more epochs would change nothing of it."""
        return self.diverged_epoch is not None or self.stopped_epoch is not None

    def curve(self, mark: str) -> Curve:
        """A mark after each epoch, "test_accuracy" or "validation_r2" say; [] for none."""
        own = {"validation_accuracy": self.validation_accuracy, "test_accuracy": self.test_accuracy}
        return own[mark] if mark in own else self.metrics.get(mark, [])

    def last(self, mark: str) -> float | None:
        """The same after the last epoch; None for none."""
        curve = self.curve(mark)
        return curve[-1] if curve else None

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


def measured_before(now: Mapping[str, T], before: Container[str]) -> dict[str, T]:
    """Metrics without what evaluations did not give yet when a record had those before."""
    return {n: t for n, t in now.items() if n in before or not n.startswith(EVALUATED)}


def note_epoch(
    outcomes: Sequence[Outcome],
    epoch: int,
    means: Mapping[str, Sequence[float]],
    marks: Mapping[str, Sequence[float | None]],
    alignment: Mapping[str, Mapping[str, Sequence[float]]],
    healthy: Sequence[bool],
) -> None:
    """Add an epoch, from 1, to the curves of every seed that has not stopped; who is not healthy
    diverged in it.

    means, marks, alignment: each seed's numbers by name; of marks and alignment none after an
    epoch without an evaluation. A seed that diverged has no marks.
    """
    for index, outcome in enumerate(outcomes):
        if outcome.stopped_epoch is not None:
            continue
        if outcome.diverged_epoch is None and not healthy[index]:
            outcome.diverged_epoch = epoch
        lost = outcome.diverged_epoch is not None
        for name, values in means.items():
            outcome.metrics.setdefault(name, []).append(values[index])
        marked = {name: None if lost else values[index] for name, values in marks.items()}
        outcome.validation_accuracy.append(marked.pop("validation_accuracy", None))
        outcome.test_accuracy.append(marked.pop("test_accuracy", None))
        for name, value in marked.items():
            outcome.metrics.setdefault(name, [None] * (epoch - 1)).append(value)
        for reference, numbers in alignment.items():
            curves = outcome.alignment.setdefault(reference, {})
            for name, values in numbers.items():
                curves.setdefault(name, [None] * (epoch - 1)).append(values[index])
        for _, curve in outcome.curves():
            curve += [None] * (epoch - len(curve))


def note_hindsight(
    outcomes: Sequence[Outcome],
    epoch: int,
    looking_back: Callable[[Mapping[str, Curve], int], Mapping[str, float | None]],
) -> None:
    """Add what every seed's marks up to an epoch, from 1, say together."""
    for outcome in outcomes:
        if outcome.stopped_epoch is None or outcome.stopped_epoch >= epoch:
            for name, value in looking_back(outcome.metrics, epoch).items():
                curve = outcome.metrics.setdefault(name, [None] * (epoch - 1))
                curve[epoch - 1 :] = [value]


def note_end(outcomes: Sequence[Outcome], marks: Mapping[str, Sequence[float | None]]) -> None:
    """Add what is only measured of the final networks to the last epoch of each seed's curves."""
    for index, outcome in enumerate(outcomes):
        epochs = len(outcome.test_accuracy)
        for name, values in marks.items():
            if not outcome.curve(name):
                value = None if outcome.diverged_epoch is not None else values[index]
                outcome.metrics[name] = [*[None] * (epochs - 1), value]


def worst_of(outcomes: Sequence[Outcome], epoch: int) -> dict[str, float]:
    """Each of the rule's own metrics, its largest value in an epoch, from 1, over the seeds that
    lived through it. No mark of an evaluation is among them: rules learn nothing of a test split.
    """
    alive = [
        o for o in outcomes
        if (o.diverged_epoch or epoch + 1) > epoch and (o.stopped_epoch or epoch) >= epoch
    ]  # fmt: skip
    worst: dict[str, float] = {}
    for outcome in alive:
        for name, curve in outcome.metrics.items():
            value = curve[epoch - 1]
            if value is not None and not name.startswith(EVALUATED):
                worst[name] = max(value, worst.get(name, value))
    return worst


def to_tensors(outcomes: Sequence[Outcome]) -> dict[str, Tensor]:
    """The curves so far, each (R, epochs) in float64, and where a seed diverged or stopped, (R)."""
    found = {
        name: torch.tensor([getattr(outcome, field) or 0 for outcome in outcomes])
        for name, field in _ENDS.items()
    }
    curves = [dict(outcome.curves()) for outcome in outcomes]
    longest = max(len(outcome.test_accuracy) for outcome in outcomes)
    for name in dict.fromkeys(name for each in curves for name in each):
        rows = [[math.nan if v is None else v for v in each.get(name, [])] for each in curves]
        rows = [row + [math.nan] * (longest - len(row)) for row in rows]
        found["/".join(name)] = torch.tensor(rows, dtype=torch.float64)
    return found


def from_tensors(tensors: Mapping[str, Tensor], seeds: Sequence[int]) -> list[Outcome]:
    """The outcomes that `to_tensors` was given; NaN and null are one, as in a record."""
    outcomes = [Outcome(seed) for seed in seeds]
    for name in _ENDS.keys() & tensors.keys():
        for outcome, epoch in zip(outcomes, tensors[name].tolist(), strict=True):
            setattr(outcome, _ENDS[name], epoch or None)
    for key, tensor in tensors.items():
        if key in _ENDS:
            continue
        for outcome, row in zip(outcomes, tensor.tolist(), strict=True):
            # a rule may call a metric what it likes
            parts = key.split("/", 1 if key.startswith("metrics/") else 2)
            curve = outcome._curve(tuple(parts))
            known = row[: outcome.stopped_epoch]
            curve += [None if math.isnan(value) else value for value in known]
    return outcomes
