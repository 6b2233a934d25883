"""Layers, activations, losses and networks: the algebra that learning rules are written in."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.errors import ConfigError, UnknownNameError
from bioplaus.network.activations import (
    ACTIVATIONS,
    Activation,
    Identity,
    LeakyRelu,
    Sigmoid,
    Tanh,
    parse_activation,
)
from bioplaus.network.layer import Dense, Init, Params, Tower
from bioplaus.network.losses import LOSSES, get_loss
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import EXACT, LAYERS, SEEDS, make_network, random_batch, rel, worst

SIZES = [(6, 6), (7, 5), (5, 1)]
every_seed = pytest.mark.parametrize("seed", SEEDS)
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


def draw(seed: int, name: str, *shape: int) -> Tensor:
    return Stream(seed).at(name).normal(shape)


def linear_part(layer: Dense, p: Params, h: Tensor) -> Tensor:
    """W h: the pre-activation without what it is at h = 0."""
    return layer.forward(p, h)[0] - layer.forward(p, torch.zeros_like(h))[0]


# Layers


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


# Activations

TORCH: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda a: a * 1,
    "relu": F.relu,
    "leaky_relu": lambda a: F.leaky_relu(a, 0.01),
    "leaky_relu(0.1)": lambda a: F.leaky_relu(a, 0.1),
    "leaky_relu(2)": lambda a: F.leaky_relu(a, 2.0),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": lambda a: torch.clamp(a / 2, 0, 1),
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
    ("text", "outside"), [("tanh", [-1.5, -1.0, 1.0, 1.5]), ("sigmoid", [-0.5, 0.0, 1.0, 1.5])]
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


# Losses


def one_hot(labels: Tensor, classes: int) -> Tensor:
    return F.one_hot(labels, classes).double()


@every_seed
@pytest.mark.parametrize("auxiliary", [0, 3])
def test_loss_values_are_torchs(auxiliary: int, seed: int) -> None:
    output = draw(seed, "output", 6, 4 + auxiliary)
    labels = (4 * Stream(seed).at("labels").uniform((6,))).long()
    targets = one_hot(labels, 4)
    answer = output[:, :4]
    mse = 0.5 * F.mse_loss(answer, targets, reduction="sum") / 6
    cross_entropy = F.cross_entropy(answer, labels)
    for name, expected in (("mse", mse), ("cross_entropy", cross_entropy)):
        value = get_loss(name).value(output, targets)
        assert value.shape == ()
        torch.testing.assert_close(value, expected, rtol=1e-14, atol=0)


@every_seed
@pytest.mark.parametrize("auxiliary", [0, 3])
@pytest.mark.parametrize("targets", ["one-hot", "soft", "any"])
@pytest.mark.parametrize("name", LOSSES)
def test_error_is_the_gradient_of_each_examples_own_loss(
    name: str, targets: str, auxiliary: int, seed: int
) -> None:
    loss = get_loss(name)
    output = draw(seed, "output", 6, 4 + auxiliary).requires_grad_()
    y = {
        "one-hot": one_hot((4 * Stream(seed).at("y").uniform((6,))).long(), 4),
        "soft": torch.softmax(draw(seed, "y", 6, 4), 1),
        "any": draw(seed, "y", 6, 4).abs(),
    }[targets]
    alone = [loss.value(output[i : i + 1], y[i : i + 1]) for i in range(6)]
    (expected,) = torch.autograd.grad(torch.stack(alone).sum(), output)
    error = loss.error(output, y)
    torch.testing.assert_close(error, expected, rtol=1e-14, atol=1e-15)
    assert not error[:, 4:].any()
    torch.testing.assert_close(torch.stack(alone).mean(), loss.value(output, y), rtol=1e-14, atol=0)


def test_cross_entropy_survives_large_outputs() -> None:
    output = torch.tensor([[1000.0, -1000.0, 0.0], [-1000.0, 0.0, 1000.0]], dtype=torch.float64)
    targets = one_hot(torch.tensor([0, 0]), 3)
    loss = get_loss("cross_entropy")
    assert loss.value(output, targets).item() == 1000.0
    expected = torch.tensor([[0.0, 0, 0], [-1, 0, 1]], dtype=torch.float64)
    assert torch.equal(loss.error(output, targets), expected)


def test_unknown_loss_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown loss 'hinge'"):
        get_loss("hinge")


# Networks


def test_a_network_needs_a_layer() -> None:
    with pytest.raises(ConfigError, match="at least one layer"):
        Network((), get_loss("mse"), 1)


def test_layers_must_fit_together() -> None:
    with pytest.raises(ConfigError, match=r"gives \(5,\), but the next reads \(6,\)"):
        Network((Dense(4, 5), Dense(6, 3)), get_loss("mse"), 3)


def test_output_units_must_tell_the_classes() -> None:
    with pytest.raises(ConfigError, match="3 output units cannot tell 4 classes"):
        Network((Dense(4, 3),), get_loss("mse"), 4)


def test_parts_are_found_by_layer_and_joined_again() -> None:
    net = make_network([3] * 13, "tanh", "mse")
    params = net.init(Stream(0))
    assert list(params) == [f"{l}.{k}" for l in range(1, 13) for k in ("weight", "bias")]
    parts = [net.at(params, l) for l in range(net.depth)]
    assert all(part.keys() == {"weight", "bias"} for part in parts)
    assert parts[0]["weight"] is params["1.weight"]
    assert net.join(parts) == params
    assert net.join(parts[4:], first=4) == {
        name: tensor for name, tensor in params.items() if int(name.split(".")[0]) > 4
    }


def test_layers_start_from_streams_of_their_own() -> None:
    deep = make_network([6] * 4, "tanh", "mse").init(Stream(0))
    shallow = make_network([6] * 3, "tanh", "mse").init(Stream(0))
    assert all(torch.equal(deep[name], tensor) for name, tensor in shallow.items())
    assert rel(deep["1.weight"], deep["2.weight"]) > 0.5


@every_seed
def test_forward_output_and_loss_agree(seed: int) -> None:
    net = make_network((7, 6, 5, 4), "tanh", "cross_entropy")
    params = net.init(Stream(seed))
    batch = random_batch(net, 5, seed)
    trace = net.forward(params, batch.x)
    assert len(trace) == net.depth == 3
    assert net.in_shape == (7,)
    for below, above in pairwise(trace):
        assert torch.equal(above.input, below.output)
    assert torch.equal(net.output(params, batch.x), trace[-1].output)
    loss = F.cross_entropy(trace[-1].output, batch.y.argmax(1))
    torch.testing.assert_close(net.mean_loss(params, *batch), loss, rtol=1e-14, atol=0)


@every_seed
def test_weight_grads_of_ones_is_the_mean_input(seed: int) -> None:
    net = make_network((7, 6, 4), "tanh", "mse")
    params, batch = net.init(Stream(seed)), random_batch(net, 5, seed)
    trace = net.forward(params, batch.x)
    grads = net.weight_grads(trace, [torch.ones_like(step.output) for step in trace])
    for l, step in enumerate(trace, start=1):
        assert rel(grads[f"{l}.bias"], torch.ones_like(grads[f"{l}.bias"])) <= EXACT
        assert (
            rel(grads[f"{l}.weight"], step.input.mean(0).expand_as(grads[f"{l}.weight"])) <= EXACT
        )
