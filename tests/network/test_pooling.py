"""Pooling: the error goes to the first of equals."""

from __future__ import annotations

import torch

from bioplaus.network.pooling import MaxPool2d


def test_max_pool_routes_to_the_first_of_equals() -> None:
    layer = MaxPool2d((1, 2, 2), 2)
    h = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    _, residuals = layer.forward({}, h)
    back = layer.adjoint({}, residuals, torch.full((1, 1, 1, 1), 5.0, dtype=torch.float64))
    assert back.flatten().tolist() == [5.0, 0.0, 0.0, 0.0]
