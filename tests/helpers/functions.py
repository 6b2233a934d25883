"""Activation functions, their inverses and slopes, written a second time for the oracles."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LEAKY = "leaky_relu(0.1)"
Function = Callable[[Tensor], Tensor]
FORWARD: dict[str, Function] = {
    LEAKY: lambda a: torch.where(a > 0, a, 0.1 * a),
    "identity": lambda a: a,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
INVERSE: dict[str, Function] = {
    LEAKY: lambda h: torch.where(h > 0, h, h / 0.1),
    "identity": lambda h: h,
    "tanh": torch.atanh,
    "sigmoid": torch.logit,
}
SLOPE: dict[str, Function] = {
    LEAKY: lambda a: torch.where(a > 0, torch.ones_like(a), 0.1),
    "identity": torch.ones_like,
    "tanh": lambda a: 1 - torch.tanh(a) ** 2,
    "sigmoid": lambda a: torch.sigmoid(a) * torch.sigmoid(-a),
}
