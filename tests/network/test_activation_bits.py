"""Fast forms of activations are the plain ones to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch.func import vmap

from bioplaus.network.activations import LeakyRelu


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("slope", [0.01, 0.1, 1.0, 3.0])
def test_leaky_relu_is_its_definition(slope: float, dtype: torch.dtype) -> None:
    """f(a) = a for a > 0 and slope * a otherwise; f' is 1 or slope, and slope at 0."""
    a = torch.cat([torch.linspace(-3, 3, 61, dtype=dtype), torch.zeros(1, dtype=dtype)])
    f = LeakyRelu(slope)
    one, other = torch.ones_like(a), torch.full_like(a, slope)
    for given in (f, vmap(f)):
        assert torch.equal(given(a), torch.where(a > 0, a, other * a))
    for slope_at in (f.slope_at, vmap(f.slope_at)):
        assert torch.equal(slope_at(a), torch.where(a > 0, one, other))
    assert f(torch.tensor(float("nan"))).isnan()
