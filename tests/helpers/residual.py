"""Models with residual blocks, and their true gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioplaus.nn import Residual

X = torch.float64


def dense() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(7, 6),
        nn.Tanh(),
        Residual(nn.Linear(6, 9), nn.LeakyReLU(0.1), nn.Linear(9, 6)),
        nn.ReLU(),
        nn.Linear(6, 4),
    )


MODELS = {
    "dense": (dense, (7,)),
    "first": (
        lambda: nn.Sequential(Residual(nn.Linear(6, 6), nn.Tanh()), nn.Linear(6, 4)),
        (2, 3),
    ),
    "alone": (lambda: Residual(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5)), (5,)),
    "nested": (
        lambda: nn.Sequential(
            nn.Linear(7, 6),
            Residual(
                nn.Linear(6, 8),
                nn.Tanh(),
                Residual(nn.Linear(8, 8, bias=False), nn.Sigmoid()),
                nn.Sequential(nn.Linear(8, 6), nn.Identity(), nn.Tanh()),
            ),
            nn.Tanh(),
            nn.Linear(6, 4),
        ),
        (7,),
    ),
    "convolutional": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1),
            nn.Tanh(),
            Residual(nn.Conv2d(3, 5, 3, padding=1), nn.Tanh(), nn.Conv2d(5, 3, 1)),
            nn.Tanh(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            Residual(nn.Linear(12, 12), nn.Tanh()),
            nn.Linear(12, 4),
        ),
        (2, 4, 5),
    ),
}


def made(name: str) -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(0)
    build, shape = MODELS[name]
    return build().double(), torch.randn(5, *shape, dtype=X), torch.tensor([0, 1, 2, 3, 0])


def loss_grads(model: nn.Sequential, x: Tensor, y: Tensor) -> list[Tensor]:
    value = F.cross_entropy(model(x), y)
    return list(torch.autograd.grad(value, list(model.parameters())))
