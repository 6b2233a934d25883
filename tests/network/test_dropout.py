"""Dropout: under the same mask, what autograd gives; silent in eval mode."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bioplaus
from bioplaus.errors import ConfigError
from bioplaus.learning.batching import NoiseSource
from bioplaus.learning.rule import NoiseSpec
from bioplaus.nn import Residual
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import rel
from tests.helpers.residual import X, loss_grads


def dropping(rate: float = 0.4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Dropout(rate),
        nn.Linear(12, 8),
        nn.Tanh(),
        nn.Dropout(rate),
        Residual(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(rate)),
        nn.Linear(8, 5),
    ).double()


def test_backprop_under_dropout_is_autograd_under_the_same_mask() -> None:
    model = dropping()
    torch.manual_seed(0)
    x, y = torch.randn(5, 12, dtype=X), torch.tensor([0, 1, 2, 3, 4])
    # network layers: Dropout 1, Linear 2, Dropout 3, Fork 4, Linear 5, Dropout 6, Join 7, Linear 8
    shapes = {"1.uniform": (5, 12), "3.uniform": (5, 8), "6.uniform": (5, 8)}
    specs = {name: NoiseSpec(shape, "uniform") for name, shape in shapes.items()}
    state = None
    for step in range(2):
        drawn = NoiseSource(specs, [7], X, torch.device("cpu"), purpose="dropout").at(step)
        masks = [(u[0] >= 0.4).double() / 0.6 for u in drawn.values()]
        h = masks[1] * torch.tanh(model[1](masks[0] * x))
        output = model[5](h + masks[2] * torch.tanh(model[4][0](h)))
        due = torch.autograd.grad(F.cross_entropy(output, y), list(model.parameters()))
        model.zero_grad()
        done = bioplaus.backward(
            model, x, y, rule="backprop", loss="cross_entropy", state=state, seed=7
        )
        state = done.state
        for parameter, gradient in zip(model.parameters(), due, strict=True):
            assert parameter.grad is not None
            assert rel(parameter.grad, gradient) <= 1e-12
        with torch.no_grad():
            assert rel(done.output, model.eval()(x)) <= 1e-14
        model.train()


def test_in_eval_mode_nothing_is_dropped() -> None:
    model, x = dropping().eval(), torch.randn(5, 12, dtype=X)
    y = torch.tensor([0, 1, 2, 3, 4])
    due = loss_grads(model, x, y)
    bioplaus.backward(model, x, y, rule="backprop", loss="cross_entropy")
    for parameter, gradient in zip(model.parameters(), due, strict=True):
        assert parameter.grad is not None
        assert rel(parameter.grad, gradient) <= 1e-12


def test_as_many_units_are_silent_as_asked() -> None:
    from bioplaus.network.dropout import Dropout

    layer = Dropout((100,), 0.3)
    p = {"uniform": Stream(0).uniform((200, 100))}
    h = torch.ones(200, 100, dtype=X)
    output, residuals = layer.forward(p, h)
    silent = float((output == 0).double().mean())
    assert abs(silent - 0.3) <= 5 * math.sqrt(0.3 * 0.7 / output.numel())
    assert torch.allclose(output[output != 0], torch.tensor(1 / 0.7, dtype=X))
    assert torch.equal(layer.adjoint(p, residuals, h), output)
    with pytest.raises(ConfigError, match="below 1"):
        Dropout((3,), 1.0)
