"""Convolution, its adjoint and its weight gradient: batched, and differentiated twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from bioplaus.numerics import conv_operators as convolution
from bioplaus.numerics.conv_operators import conv, conv_adjoint, conv_weight_grad
from tests.helpers.images import GEOMETRIES, SIZE, conv_layer, normal
from tests.helpers.networks import rel


def operators(geometry: tuple[int, int, int]) -> dict[str, tuple[Callable[..., Tensor], str]]:
    k, s, p = geometry
    return {
        "conv": (lambda h, w: conv(h, w, s, p), "hw"),
        "adjoint": (lambda d, w: conv_adjoint(d, w, s, p, SIZE), "dw"),
        "weight_grad": (lambda h, d: conv_weight_grad(h, d, k, s, p), "hd"),
    }


def operands(geometry: tuple[int, int, int], count: int, seed: int = 0) -> dict[str, Tensor]:
    layer = conv_layer(*geometry)
    return {
        "h": normal(seed, "h", count, 2, *layer.in_shape),
        "d": normal(seed, "d", count, 2, *layer.out_shape),
        "w": normal(seed, "w", count, 4, 3, geometry[0], geometry[0]),
    }


@pytest.mark.parametrize("looped_on", [{"cpu"}, set()], ids=["looped", "grouped"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("name", ["conv", "adjoint", "weight_grad"])
def test_batched_operators_equal_one_replica_at_a_time(
    name: str,
    geometry: tuple[int, int, int],
    count: int,
    looped_on: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convolution, "LOOPED_ON", looped_on)
    operator, names = operators(geometry)[name]
    stacked = operands(geometry, count)
    a, b = (stacked[n] for n in names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no slow fallback of vmap
        both = vmap(operator)(a, b)
        shared = vmap(operator, in_dims=(0, None))(a, b[0])
        moved = vmap(operator, in_dims=(None, 1), out_dims=2)(a[0], b.movedim(0, 1))
    for r in range(count):
        assert rel(both[r], operator(a[r], b[r])) <= 1e-14
        assert rel(shared[r], operator(a[r], b[0])) <= 1e-14
        assert rel(moved.select(2, r), operator(a[0], b[r])) <= 1e-14


@pytest.mark.parametrize("geometry", [(3, 2, 0), (2, 3, 0), (2, 1, 1)])
@pytest.mark.parametrize("name", ["conv", "adjoint", "weight_grad"])
def test_operators_differentiate_twice(name: str, geometry: tuple[int, int, int]) -> None:
    operator, names = operators(geometry)[name]
    stacked = operands(geometry, 1)
    inputs = [(stacked[n][0] if n == "w" else stacked[n][0, :1]).requires_grad_() for n in names]
    assert torch.autograd.gradcheck(operator, inputs)
    assert torch.autograd.gradgradcheck(operator, inputs)


@pytest.mark.parametrize("order", ["vmap of grad", "grad of vmap"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("name", ["conv", "adjoint", "weight_grad"])
def test_operators_differentiate_under_vmap(
    name: str, geometry: tuple[int, int, int], order: str
) -> None:
    operator, names = operators(geometry)[name]
    stacked = operands(geometry, 3)
    a, b = (stacked[n] for n in names)

    def value(a: Tensor, b: Tensor) -> Tensor:
        return operator(a, b).sin().sum()

    expected = torch.stack([grad(value, argnums=1)(a[r], b[r]) for r in range(3)])
    if order == "vmap of grad":
        found = vmap(grad(value, argnums=1))(a, b)
    else:
        found = grad(lambda b: vmap(value)(a, b).sum())(b)
    assert rel(found, expected) <= 1e-13
