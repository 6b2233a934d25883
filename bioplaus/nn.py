"""Modules for models that learning rules train: what torch.nn lacks."""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Sequential):
    """x + f(x), where f is the modules in a row: a block with a skip connection.

    It stands in an `nn.Sequential` that `bioplaus.backward` or `bioplaus.Learner` trains; its
    modules' output must have the shape of its input. An activation may follow it.

        nn.Sequential(nn.Linear(64, 32), Residual(nn.Linear(32, 32), nn.Tanh()), nn.Linear(32, 10))
    """

    def forward(self, input: Tensor) -> Tensor:
        """x + f(x), the shape of x."""
        output: Tensor = input + super().forward(input)  # type: ignore[no-untyped-call]
        return output
