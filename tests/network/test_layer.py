"""Dense and tower layers: the algebra that learning rules are written in."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Sigmoid, Tanh
from bioplaus.network.layer import Dense, Init, Params, Tower
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import EXACT, LAYERS, draw, every_seed, rel, worst

SIZES = [(6, 6), (7, 5), (5, 1)]
every_size = pytest.mark.parametrize("size", SIZES, ids=str)
every_kind = pytest.mark.parametrize("kind", LAYERS)
with_and_without_bias = pytest.mark.parametrize("bias", [True, False])


def make_layer(
    kind: str, size: tuple[int, int], seed: int, *, bias: bool = True
) -> tuple[Dense, Params]:
    """A tanh layer and random parameters for it, biases included."""
    layer = LAYERS[kind](*size, Tanh(), bias)
    params = layer.init(Stream(seed), Init("lecun_normal", 1.0))
    assert params.keys() == ({"weight", "bias"} if bias else {"weight"})
    return layer, {k: Stream(seed).at("random", k).normal(t.shape) for k, t in params.items()}


def linear_part(layer: Dense, p: Params, h: Tensor) -> Tensor:
    """W h: the pre-activation without what it is at h = 0."""
    return layer.forward(p, h)[0] - layer.forward(p, torch.zeros_like(h))[0]


@every_seed
@with_and_without_bias
@every_size
@every_kind
def test_adjoint_is_the_transpose_of_the_linear_part(
    kind: str, size: tuple[int, int], bias: bool, seed: int
) -> None:
    layer, p = make_layer(kind, size, seed, bias=bias)
    h, d = draw(seed, "h", 4, size[0]), draw(seed, "d", 4, size[1])
    _, residuals = layer.forward(p, h)
    below = layer.adjoint(p, residuals, d)
    assert below.shape == h.shape
    up, down = (linear_part(layer, p, h) * d).sum(1), (h * below).sum(1)
    scale = h.norm(dim=1) * d.norm(dim=1) * p["weight"].norm()
    assert ((up - down).abs() <= EXACT * scale).all()


@every_seed
@with_and_without_bias
@every_size
@every_kind
def test_weight_grad_is_autograds(kind: str, size: tuple[int, int], bias: bool, seed: int) -> None:
    layer, p = make_layer(kind, size, seed, bias=bias)
    h, d = draw(seed, "h", 4, size[0]), draw(seed, "d", 4, size[1])
    leaves = {name: tensor.requires_grad_() for name, tensor in p.items()}
    a, residuals = layer.forward(leaves, h)
    mean = (a * d).sum(1).mean()
    expected = dict(zip(leaves, torch.autograd.grad(mean, list(leaves.values())), strict=True))
    assert worst(layer.weight_grad(residuals, d), expected) <= EXACT


@every_seed
@every_size
@every_kind
def test_matrix_is_the_linear_part(kind: str, size: tuple[int, int], seed: int) -> None:
    layer, p = make_layer(kind, size, seed)
    h = draw(seed, "h", 4, size[0])
    matrix = layer.matrix(p)
    assert matrix is not None
    assert rel(linear_part(layer, p, h), layer.read(h) @ matrix.T) <= EXACT


@every_seed
@every_size
@every_kind
def test_solve_and_preimage_invert_where_the_layer_says_so(
    kind: str, size: tuple[int, int], seed: int
) -> None:
    layer, p = make_layer(kind, size, seed)
    h, d = draw(seed, "h", 4, size[0]), draw(seed, "d", 4, size[1])
    _, residuals = layer.forward(p, h)
    square = p["weight"].shape[0] == p["weight"].shape[1]
    reason = layer.why_not_invertible()
    assert (reason is None) == square
    if not square:
        assert reason is not None
        assert f"{size[1]} x {size[0]}" in reason
        return
    tolerance = EXACT * float(torch.linalg.cond(p["weight"]))
    solved = layer.solve(p, residuals, d)
    assert solved.shape == h.shape
    assert rel(linear_part(layer, p, solved), d) <= tolerance
    assert not solved[:, layer.reads :].any()
    source = layer.preimage(p, residuals, d)
    assert rel(layer.forward(p, source)[0], d) <= tolerance
    assert torch.equal(source[:, layer.reads :], h[:, layer.reads :])


@every_seed
@every_size
@every_kind
def test_write_replaces_what_read_reads(kind: str, size: tuple[int, int], seed: int) -> None:
    layer, _ = make_layer(kind, size, seed)
    h = draw(seed, "h", 4, size[0])
    part = draw(seed, "part", *layer.read(h).shape)
    written = layer.write(h, part)
    assert torch.equal(layer.read(written), part)
    assert torch.equal(layer.write(h, layer.read(h)), h)
    assert torch.equal(layer.write(written, layer.read(h)), h)


@every_seed
@every_size
@every_kind
def test_unread_units_have_no_effect(kind: str, size: tuple[int, int], seed: int) -> None:
    layer, p = make_layer(kind, size, seed)
    h = draw(seed, "h", 4, size[0])
    auxiliary = torch.cat([torch.zeros(4, layer.reads), torch.ones(4, size[0] - layer.reads)], 1)
    assert torch.equal(layer.forward(p, h + 5 * auxiliary)[0], layer.forward(p, h)[0])


@pytest.mark.parametrize(("size", "reads"), [((6, 6), 6), ((7, 5), 5), ((5, 1), 1)])
def test_a_tower_layer_is_square_on_the_first_units_below(
    size: tuple[int, int], reads: int
) -> None:
    layer, p = make_layer("tower", size, 0)
    assert layer.reads == reads
    assert p["weight"].shape == (size[1], reads)
    assert layer.why_not_invertible() is None
    h = draw(0, "h", 4, size[0])
    assert torch.equal(layer.forward(p, h)[0], F.linear(h[:, :reads], p["weight"], p["bias"]))


def test_a_tower_layer_cannot_widen() -> None:
    with pytest.raises(ConfigError, match="cannot widen: 6 units above 5"):
        Tower(5, 6, Tanh())


@every_seed
@every_size
@every_kind
def test_trace_holds_the_forward_pass(kind: str, size: tuple[int, int], seed: int) -> None:
    layer, p = make_layer(kind, size, seed)
    h = draw(seed, "h", 4, size[0])
    step = layer.trace(p, h)
    expected = F.linear(h[:, : p["weight"].shape[1]], p["weight"], p["bias"])
    assert torch.equal(step.input, h)
    torch.testing.assert_close(step.preactivation, expected, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(step.output, torch.tanh(expected), rtol=1e-14, atol=1e-14)
    slope = 1 / torch.cosh(expected) ** 2
    torch.testing.assert_close(step.slope, slope, rtol=0, atol=1e-14)


@every_size
@every_kind
def test_reverse_leads_from_the_output_to_what_is_read(kind: str, size: tuple[int, int]) -> None:
    layer, _ = make_layer(kind, size, 0)
    assert layer.why_not_reversible() is None
    reverse = layer.reverse(Sigmoid())
    assert reverse.in_shape == layer.out_shape
    assert reverse.out_shape == layer.read(torch.zeros(layer.in_shape)).shape
    assert reverse.activation == Sigmoid()


@every_seed
@pytest.mark.parametrize("size", [(60, 40), (40, 60), (50, 50)])
@pytest.mark.parametrize(
    ("scheme", "variance"),
    [
        ("orthogonal", lambda fan_in, fan_out: 1 / max(fan_in, fan_out)),
        ("xavier_normal", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
        ("xavier_uniform", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
        ("lecun_normal", lambda fan_in, fan_out: 1 / fan_in),
    ],
)
def test_initial_weights_have_the_variance_of_their_scheme(
    scheme: str, variance: Callable[[int, int], float], size: tuple[int, int], seed: int
) -> None:
    p = Dense(*size).init(Stream(seed), Init(scheme, 2.0))  # type: ignore[arg-type]
    assert p["weight"].dtype == torch.float64
    assert not p["bias"].any()
    expected = 4 * variance(*size)
    count = p["weight"].numel()
    # four standard errors; kurtosis is at most the normal's
    assert abs(float(p["weight"].square().mean()) / expected - 1) < 4 * math.sqrt(2 / count)
    assert abs(float(p["weight"].mean())) < 4 * math.sqrt(expected / count)
