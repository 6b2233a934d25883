"""Activations and their slopes, inverses and names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.errors import ConfigError, UnknownNameError
from bioplaus.network.activations import (
    ACTIVATIONS,
    Activation,
    HardSigmoid,
    Identity,
    LeakyRelu,
    Tanh,
    parse_activation,
)
from tests.helpers.networks import draw, every_seed

TORCH: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda a: a * 1,
    "relu": F.relu,
    "leaky_relu": lambda a: F.leaky_relu(a, 0.01),
    "leaky_relu(0.1)": lambda a: F.leaky_relu(a, 0.1),
    "leaky_relu(2)": lambda a: F.leaky_relu(a, 2.0),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "steep_sigmoid": lambda a: 1 / (1 + torch.exp(-4 * (a - 0.5))),
    "hard_sigmoid": lambda a: F.hardtanh(a / 2, 0, 1),  # clamp's slope at 0: 1 up to torch 2.11
}
every_activation = pytest.mark.parametrize("text", TORCH)


def test_no_activation_is_left_out() -> None:
    assert {parse_activation(text).name for text in TORCH} == set(ACTIVATIONS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_activation
@every_seed
def test_activation_and_slope_are_torchs(text: str, dtype: torch.dtype, seed: int) -> None:
    f = parse_activation(text)
    a = torch.cat([3 * draw(seed, "a", 50), torch.zeros(1, dtype=torch.float64)]).to(dtype)
    a.requires_grad_()
    h = TORCH[text](a)
    (slope,) = torch.autograd.grad(h.sum(), a)
    assert f(a).dtype == f.slope_at(a).dtype == dtype
    rounding = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(f(a), h, rtol=rounding, atol=0)
    torch.testing.assert_close(f.slope_at(a), slope, rtol=rounding, atol=rounding)


@every_activation
def test_slope_is_the_derivative_of_the_activation_itself(text: str) -> None:
    f = parse_activation(text)
    a = torch.cat([3 * draw(0, "a", 50), torch.zeros(1, dtype=torch.float64)]).requires_grad_()
    (slope,) = torch.autograd.grad(f(a).sum(), a)
    torch.testing.assert_close(f.slope_at(a), slope, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(
    ("text", "slope"),
    [("relu", 0.0), ("leaky_relu(0.1)", 0.1), ("leaky_relu(2)", 2.0), ("identity", 1.0)],
)
def test_slope_at_zero_follows_the_convention(text: str, slope: float) -> None:
    zero = torch.zeros((), dtype=torch.float64)
    assert parse_activation(text).slope_at(zero).item() == slope
    assert parse_activation(text).slope_at(-zero).item() == slope


@every_activation
@every_seed
def test_inverse_undoes_the_activation(text: str, seed: int) -> None:
    f = parse_activation(text)
    a = (3 * draw(seed, "a", 50)).clamp(-3, 3)
    if not f.invertible:
        with pytest.raises(ConfigError, match="has no inverse"):
            f.inverse(a)
        return
    h = f(a)
    # rounding h by one part in 2^53 moves f^-1(h) by that over the slope
    tolerance = 1e-15 / float(f.slope_at(a).min().clamp(max=1))
    torch.testing.assert_close(f.inverse(h), a, rtol=0, atol=8 * tolerance)
    torch.testing.assert_close(f(f.inverse(h)), h, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("text", "outside"),
    [
        ("tanh", [-1.5, -1.0, 1.0, 1.5]),
        ("sigmoid", [-0.5, 0.0, 1.0, 1.5]),
        ("steep_sigmoid", [-0.5, 0.0, 1.0, 1.5]),
    ],
)
def test_inverse_is_not_finite_outside_the_range(text: str, outside: list[float]) -> None:
    assert not parse_activation(text).inverse(torch.tensor(outside)).isfinite().any()


@every_activation
def test_zero_at_zero_is_what_it_says(text: str) -> None:
    f = parse_activation(text)
    assert (float(f(torch.zeros(()))) == 0) == f.zero_at_zero


@pytest.mark.parametrize("text", [*TORCH, "leaky_relu(0.123456789)", "leaky_relu(1e-07)"])
def test_text_round_trip(text: str) -> None:
    f = parse_activation(text)
    assert parse_activation(str(f)) == f
    assert parse_activation(f"  {str(f).replace('(', ' ( ')} ") == f


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tanh", Tanh()),
        (" identity ", Identity()),
        ("leaky_relu", LeakyRelu(0.01)),
        ("leaky_relu(.1)", LeakyRelu(0.1)),
        ("leaky_relu( 2e-1 )", LeakyRelu(0.2)),
    ],
)
def test_text_is_read(text: str, expected: Activation) -> None:
    assert parse_activation(text) == expected


@pytest.mark.parametrize("text", ["gelu", "Tanh", "tan_h", "leaky(0.1)"])
def test_unknown_activation_is_named(text: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown activation"):
        parse_activation(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "cannot read"),
        ("tanh(", "cannot read"),
        ("tanh)", "cannot read"),
        ("leaky_relu(0.1)(0.1)", "cannot read"),
        ("leaky_relu((0.1))", "cannot read"),
        ("tanh(1)", "takes no argument"),
        ("tanh()", "takes no argument"),
        ("leaky_relu()", "needs a number"),
        ("leaky_relu(a)", "needs a number"),
        ("leaky_relu(0.1, 0.2)", "needs a number"),
        ("leaky_relu(0)", "positive slope"),
        ("leaky_relu(-0.1)", "positive slope"),
        ("leaky_relu(nan)", "positive slope"),
        ("leaky_relu(inf)", "positive slope"),
    ],
)
def test_bad_activation_text_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse_activation(text)


def test_hard_sigmoid_is_half_its_input_between_its_bounds() -> None:
    f = parse_activation("hard_sigmoid")
    a = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    assert f(a).tolist() == [0, 0, 0.25, 0.5, 1, 1]
    (slope,) = torch.autograd.grad(f(a).sum(), a)
    assert f.slope_at(a).tolist() == slope.tolist() == [0, 0, 0.5, 0.5, 0, 0]
    assert f.bounded and f.zero_at_zero and not f.invertible
    assert isinstance(f, HardSigmoid) and not Identity().bounded
