"""The contract of an axis: a property of a trained network, measured after training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Self, TypeVar

import torch
from pydantic import ConfigDict, ValidationError
from torch import Tensor

from bioplaus.errors import ConfigError, UnknownNameError, validation_message
from bioplaus.experiments.experiment import Experiment
from bioplaus.learning.batching import unstack
from bioplaus.learning.fields import Fields
from bioplaus.learning.prediction import PredictionNoise, positions, predicted
from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.numerics.random_streams import Stream
from bioplaus.training.progress import Splits

_ELEMENTS = 2**22
"""Activities of the widest layer held at once where an answer is asked for."""


class AxisConfig(Fields):
    """Base of an axis's settings: typed, described, validated, frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Reading:
    """One result: a number, or a list of them over a setting, a layer or the like."""

    value: Tensor | float
    """A scalar, or one number for each place (K,)."""
    over: str = ""
    """What a list runs over: "k", "layer"."""
    at: Sequence[float] = ()
    """Where: K numbers."""
    share: bool = True
    """A share from 0 to 1, such as an accuracy; shown in percent."""
    words: str = ""
    """What it is, for people."""


@dataclass(frozen=True)
class Trained:
    """One seed's trained network, and what it was trained on."""

    experiment: Experiment
    seed: int
    params: Params
    state: State
    """The rule's; empty where its answers do not depend on it."""
    data: Splits
    """Scaled, in the network's input shape, on the device; the test split to report only."""
    stream: Stream
    """The seed's random numbers, under the axis's name: the same for every rule."""
    reference: Callable[[], Trained | None] = lambda: None
    """The reference rule's network of the same seed and task, where there is one."""

    def answers(
        self, x: Tensor, params: Params | None = None, state: State | None = None
    ) -> Tensor:
        """The rule's outputs for x (N, *in_shape), one column for each class, (N, C).

        params, state: others in the place of the trained ones. Differentiable in x where the
        rule's `predict` is. Noise in predictions is that of the test split's first examples.
        """
        net, rule = self.experiment.network, self.experiment.rule
        shapes = (net.in_shape, *(layer.out_shape for layer in net.layers))
        chunk = max(1, _ELEMENTS // max(math.prod(shape) for shape in shapes))
        drawn = PredictionNoise(rule, net, [self.seed], x.dtype, x.device)
        places = positions(len(x), x.device)
        parts = [
            predicted(
                rule, net, params or self.params, state or self.state, part,
                unstack(drawn.each(at), 0),
            )
            for part, at in zip(torch.split(x, chunk), torch.split(places, chunk), strict=True)
        ]  # fmt: skip
        return torch.cat(parts)[:, : net.classes]


C = TypeVar("C", bound=AxisConfig)


class Axis(ABC, Generic[C]):
    """Measures one property of trained networks, found through the entry points `bioplaus.axes`.

    It is written for one network. Nothing in it is tuned: it may use the training and the
    validation split as it likes, and the test split only to report.

    Example:

        >>> from bioplaus.axes import Axis, AxisConfig, Reading
        >>> class Norms(Axis[AxisConfig]):
        ...     name = "norms"
        ...
        ...     def measure(self, trained, report):
        ...         report(1.0)
        ...         size = sum(float(p.square().sum()) for p in trained.params.values())
        ...         return {"norm": Reading(size**0.5, share=False, words="all parameters' norm")}
        >>> Norms.configured({}).name
        'norms'
    """

    name: ClassVar[str]
    Config: ClassVar[type[AxisConfig]] = AxisConfig
    version: ClassVar[int] = 1
    """Part of a measurement's key: raise it where its numbers change."""

    def __init__(self, config: C) -> None:
        self.config = config

    @classmethod
    def configured(cls, options: Mapping[str, object] | None = None) -> Self:
        """The axis with these settings; an unknown or bad one raises one clear line."""
        options = options or {}
        for option in options:
            if option not in cls.Config.model_fields:
                raise UnknownNameError(f"setting of {cls.name}", option, cls.Config.model_fields)
        try:
            config = cls.Config.model_validate(options)
        except ValidationError as error:
            message = validation_message(error, cls.Config)
            raise ConfigError(f"{cls.name}: {message}") from None
        return cls(config)  # type: ignore[arg-type]

    def supports(self, experiment: Experiment) -> str | None:
        """None where it can be measured of such networks, else the reason why not."""
        return None

    @abstractmethod
    def measure(self, trained: Trained, report: Callable[[float], None]) -> Mapping[str, Reading]:
        """The readings of one network by name, in the order in which to show them: what says
        most first. report: told the share done, for progress."""
