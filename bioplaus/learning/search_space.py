"""Search spaces: which settings of a rule are worth tuning, and in what range.

A rule declares its own (`LearningRule.search_space`); no search algorithm is named here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from bioplaus.errors import ConfigError


class Dimension(ABC):
    """What values one setting may take."""

    @abstractmethod
    def at(self, u: float) -> object:
        """The value at position u in [0, 1) of the range: spreads u's evenly over it."""

    @abstractmethod
    def __str__(self) -> str:
        """The range in words, for the board."""


@dataclass(frozen=True)
class Uniform(Dimension):
    """A number between low and high."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range(self.low, self.high)

    def at(self, u: float) -> float:
        return self.low + u * (self.high - self.low)

    def __str__(self) -> str:
        return f"uniform from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class LogUniform(Dimension):
    """A positive number between low and high, evenly spread in its logarithm."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_range(self.low, self.high)
        if self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0, not at {self.low}")

    def at(self, u: float) -> float:
        inside: float = self.low * (self.high / self.low) ** u
        return min(inside, self.high)

    def __str__(self) -> str:
        return f"log-uniform from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice(Dimension):
    """One of some values: numbers, text, true or false."""

    values: tuple[bool | int | float | str, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a choice needs at least one value")

    def at(self, u: float) -> bool | int | float | str:
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.values))


@dataclass(frozen=True)
class Around:
    """So many decades each way of the setting's default, evenly spread in its logarithm.

    The default of a learning rate depends on rule, network and task: this is a `LogUniform`
    once it is known. `most` bounds it from above, where an option has a limit.

    Example:

        >>> from bioplaus import LEARNING_RATE, Around
        >>> space = {"optimizer.lr": LEARNING_RATE, "gain": Around(0.5, most=2.0)}
        >>> print(space["gain"].of(1.0))
        log-uniform from 0.316228 to 2
    """

    decades: float
    most: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("decades", self.decades), ("most", self.most)):
            number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
            if not number and (name, value) != ("most", None):
                raise ConfigError(f"Around: {name} is a number above 0, not {value!r:.60}")

    def of(self, default: object) -> LogUniform:
        """The range around that default, a positive number."""
        if not isinstance(default, int | float) or not default > 0:
            raise ValueError(f"there is no range around the default {default!r}")
        factor = 10.0**self.decades
        high = default * factor
        return LogUniform(default / factor, high if self.most is None else min(high, self.most))


SearchSpace = Mapping[str, Dimension | Around]
"""Setting (`optimizer.lr`, or an option of the rule) -> range."""

LEARNING_RATE = Around(1.5)
"""The range of every learning rate that a rule does not say otherwise of."""


def _check_range(low: float, high: float) -> None:
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ValueError(f"a range goes from a lower to a higher number, not {low} to {high}")
