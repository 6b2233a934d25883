"""Max-pooling over the edge, as torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bioplaus.errors import ConfigError, ModelError
from bioplaus.network.pooling import AvgPool2d, MaxPool2d
from bioplaus.own_model.read_modules import read_modules
from tests.helpers.networks import rel


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 1), (4, 3)])
def test_padding_is_torchs(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = MaxPool2d((2, 7, 6), kernel, stride, padding=1)
    h = torch.randn(5, 2, 7, 6, dtype=torch.float64, requires_grad=True)
    due = F.max_pool2d(h, kernel, stride, padding=1)
    assert layer.out_shape == tuple(due.shape[1:])
    found, residuals = layer.forward({}, h)
    assert torch.equal(found, due)
    d = torch.randn_like(due)
    (below,) = torch.autograd.grad(due, h, d)
    with torch.no_grad():
        assert rel(layer.adjoint({}, residuals, d), below) <= 1e-15


def test_windows_that_would_be_empty_are_refused() -> None:
    with pytest.raises(ConfigError, match="padding 2 is more than half of a kernel of 3"):
        MaxPool2d((2, 7, 6), 3, 2, padding=2)


@pytest.mark.parametrize("size", [1, 2, (2, 3), (None, 6), (4, None)])
def test_adaptive_pooling_in_windows_of_one_size(size: object) -> None:
    module = nn.AdaptiveAvgPool2d(size)  # type: ignore[arg-type]
    x = torch.randn(3, 2, 4, 6, dtype=torch.float64)
    model = nn.Sequential(nn.Conv2d(2, 2, 1), module, nn.Flatten())
    if size in (1, 2):  # 4 x 6 has no square windows for these
        with pytest.raises(ModelError, match=r"module 1 .* has no square windows"):
            read_modules(model, (2, 4, 6))
        return
    layer = read_modules(model, (2, 4, 6)).layers[1]
    assert isinstance(layer, AvgPool2d)
    assert rel(layer.forward({}, x)[0], module(x)) <= 1e-14
