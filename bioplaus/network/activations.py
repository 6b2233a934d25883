"""Activation functions with the derivative and inverse that learning rules need.

One convention for all rules and for the reference: relu'(0) = 0, leaky_relu'(0) = slope,
and hard_sigmoid' = 0 at both its kinks, as of torch's hardtanh.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.errors import ConfigError, UnknownNameError


@dataclass(frozen=True)
class Activation(ABC):
    """An elementwise f with f' as a function of the pre-activation, and f^-1 where it exists."""

    name: ClassVar[str]
    invertible: ClassVar[bool] = False
    zero_at_zero: ClassVar[bool] = True
    bounded: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, a: Tensor) -> Tensor:
        """f(a)."""

    @abstractmethod
    def slope_at(self, a: Tensor) -> Tensor:
        """f'(a)."""

    def inverse(self, h: Tensor) -> Tensor:
        """f^-1(h); outside the range of f the result is not finite."""
        raise ConfigError(f"{self} has no inverse")

    def __str__(self) -> str:
        return self.name


class Identity(Activation):
    name = "identity"
    invertible = True

    def __call__(self, a: Tensor) -> Tensor:
        return a

    def slope_at(self, a: Tensor) -> Tensor:
        return torch.ones_like(a)

    def inverse(self, h: Tensor) -> Tensor:
        return h


class Relu(Activation):
    name = "relu"

    def __call__(self, a: Tensor) -> Tensor:
        return torch.relu(a)

    def slope_at(self, a: Tensor) -> Tensor:
        return (a > 0).to(a.dtype)


@dataclass(frozen=True)
class LeakyRelu(Activation):
    """f(a) = a for a > 0, slope * a otherwise; 0 < slope."""

    slope: float = 0.01
    name: ClassVar[str] = "leaky_relu"
    invertible: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.slope < float("inf"):
            raise ConfigError(f"leaky_relu needs a positive slope, not {self.slope}")

    def __call__(self, a: Tensor) -> Tensor:
        return F.leaky_relu(a, self.slope)

    def slope_at(self, a: Tensor) -> Tensor:
        # the gradient of `leaky_relu` where 1 comes down: many times faster than `torch.where`
        one = torch.ones((), dtype=a.dtype, device=a.device).expand(a.shape)
        slope: Tensor = torch.ops.aten.leaky_relu_backward(one, a, self.slope, False)
        return slope

    def inverse(self, h: Tensor) -> Tensor:
        return torch.where(h > 0, h, h / self.slope)

    def __str__(self) -> str:
        return f"leaky_relu({self.slope!r})"


class Tanh(Activation):
    name = "tanh"
    invertible = True
    bounded = True

    def __call__(self, a: Tensor) -> Tensor:
        return torch.tanh(a)

    def slope_at(self, a: Tensor) -> Tensor:
        return 1 - torch.tanh(a).square()

    def inverse(self, h: Tensor) -> Tensor:
        return torch.atanh(h)


class Sigmoid(Activation):
    name = "sigmoid"
    invertible = True
    zero_at_zero = False
    bounded = True

    def __call__(self, a: Tensor) -> Tensor:
        return torch.sigmoid(a)

    def slope_at(self, a: Tensor) -> Tensor:
        s = torch.sigmoid(a)
        return s * (1 - s)

    def inverse(self, h: Tensor) -> Tensor:
        return torch.logit(h)


class SteepSigmoid(Activation):
    """f(a) = 1 / (1 + exp(-4 (a - 1/2))): equilibrium propagation's on MNIST, near a on (0, 1)."""

    name = "steep_sigmoid"
    invertible = True
    zero_at_zero = False
    bounded = True

    def __call__(self, a: Tensor) -> Tensor:
        return torch.sigmoid(4 * (a - 0.5))

    def slope_at(self, a: Tensor) -> Tensor:
        s = self(a)
        return 4 * s * (1 - s)

    def inverse(self, h: Tensor) -> Tensor:
        return 0.5 + 0.25 * torch.logit(h)


class HardSigmoid(Activation):
    """f(a) = a / 2 between 0 and 1: equilibrium propagation's, not torch's hardsigmoid."""

    name = "hard_sigmoid"
    bounded = True

    def __call__(self, a: Tensor) -> Tensor:
        return 0.5 * F.hardtanh(a, 0.0, 2.0)

    def slope_at(self, a: Tensor) -> Tensor:
        return 0.5 * ((a > 0) & (a < 2)).to(a.dtype)


ACTIVATIONS: dict[str, type[Activation]] = {
    kind.name: kind
    for kind in (Identity, Relu, LeakyRelu, Tanh, Sigmoid, SteepSigmoid, HardSigmoid)
}


def parse_activation(text: str) -> Activation:
    """`"tanh"`, `"leaky_relu(0.1)"` -> the activation; ConfigError or UnknownNameError."""
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*", text)
    if match is None:
        raise ConfigError(f"cannot read the activation {text!r}; write tanh or leaky_relu(0.1)")
    name, argument = match.groups()
    if name not in ACTIVATIONS:
        hint = "; cross_entropy takes the outputs before a softmax: leave it out"
        raise UnknownNameError("activation", name, ACTIVATIONS, hint if "softmax" in name else "")
    if argument is None:
        return ACTIVATIONS[name]()
    if name != LeakyRelu.name:
        raise ConfigError(f"the activation {name} takes no argument, but has ({argument})")
    try:
        return LeakyRelu(float(argument))
    except ValueError:
        raise ConfigError(
            f"leaky_relu needs a number, as in leaky_relu(0.1), not {argument!r}"
        ) from None
