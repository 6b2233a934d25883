"""GAIT-prop: its two forms, where they equal backprop, and its orthogonality regulariser."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.learning.batching import cast
from bioplaus.learning.rule import Batch, State
from bioplaus.network.activations import Tanh, parse_activation
from bioplaus.network.layer import Dense, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.rules.gaitprop import incremental_target
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    chain,
    condition,
    get_rule,
    layer_jacobians,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    single_examples,
    worst,
)

ALPHA = 0.1
GAMMA = 1e-3
LEAKY = "leaky_relu(0.1)"


def leaky_slope(a: Tensor) -> Tensor:
    """f'(a), which is also f'(f^{-1}(a))."""
    return torch.where(a > 0, torch.ones_like(a), ALPHA)


def without_crossings(net: Network, params: Params, batch: Batch) -> Batch:
    """The examples in which no unit comes near to changing its branch of f.

    An example goes if 2 gamma^{L-l+1} D^2 |e_l| >= |h_l| in a unit of layer l = 2..L,
    with e from the difference form. Square layers with cross-entropy or mse.
    """
    trace = net.forward(params, batch.x)
    error = net.loss.error(trace[-1].output, batch.y)
    kept = torch.ones(len(batch.x), dtype=torch.bool)
    for l in range(net.depth, 1, -1):
        slope = leaky_slope(trace[l - 1].preactivation)
        reach = 2 * GAMMA ** (net.depth - l + 1) * slope**2 * error.abs()
        kept &= (reach < trace[l - 1].output.abs()).all(1)
        error = torch.linalg.solve(params[f"{l}.weight"], (slope * error).T).T
    return Batch(batch.x[kept], batch.y[kept])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("depth", [1, 2, 4, 6])
def test_t_gait_1_difference_form_is_backprop_when_orthogonal_square(
    depth: int, loss: str, seed: int
) -> None:
    net = make_network([64] * (depth + 1), LEAKY, loss, classes=10)
    params, batch = random_params(net, seed), random_batch(net, 12, seed)
    grads = run_rule("gaitprop", net, params, batch).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_t_gait_1_difference_form_is_backprop_when_orthogonal_tower(loss: str, seed: int) -> None:
    net = make_network((64, 64, 40, 20, 10), LEAKY, loss, kind="tower")
    params, batch = random_params(net, seed), random_batch(net, 12, seed)
    grads = run_rule("gaitprop", net, params, batch).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_gait_1_layer_1_may_be_rectangular_and_anything(seed: int) -> None:
    net = make_network((48, 32, 32, 32), LEAKY, "mse", classes=10)
    params, batch = random_params(net, seed), random_batch(net, 12, seed)
    params["1.weight"] = Stream(seed).at("anything").normal((32, 48))
    grads = run_rule("gaitprop", net, params, batch).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_gait_1_needs_orthogonality(seed: int) -> None:
    net = make_network([16] * 4, LEAKY, "mse", classes=10)
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 12, seed)
    grads = run_rule("gaitprop", net, params, batch).grads
    assert rel(grads["1.weight"], autograd_grads(net, params, batch)["1.weight"]) > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_t_gait_2_finite_form_is_backprop_with_one_hidden_layer(seed: int) -> None:
    net = make_network([64] * 3, LEAKY, "mse", classes=10)
    params = random_params(net, seed)
    batch = without_crossings(net, params, random_batch(net, 60, seed))
    assert len(batch.x) >= 30
    grads = run_rule("gaitprop", net, params, batch, form="finite", gamma=GAMMA).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= 1e-8


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_t_gait_3_finite_form_is_difference_form_for_any_weights(loss: str, seed: int) -> None:
    net = make_network([32] * 4, LEAKY, loss, classes=10)
    params = random_params(net, seed, scheme="gaussian")
    batch = without_crossings(net, params, random_batch(net, 60, seed))
    assert len(batch.x) >= 10
    finite = run_rule("gaitprop", net, params, batch, form="finite", gamma=GAMMA).grads
    difference = run_rule("gaitprop", net, params, batch, form="difference").grads
    assert worst(finite, difference) <= 1e-6


def published_grads(
    net: Network, params: Params, batch: Batch, gamma: float, adjust: bool
) -> Params:
    """The published recursion (section 2.2), one example after the other; square layers, mse."""
    grads = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
    count = len(batch.x)
    for x, y in zip(batch.x, batch.y, strict=True):
        h, a = [x], [x]
        for l in range(1, net.depth + 1):
            a.append(params[f"{l}.weight"] @ h[-1] + params[f"{l}.bias"])
            h.append(torch.where(a[-1] > 0, a[-1], ALPHA * a[-1]))
        t = torch.cat([y, h[-1][net.classes :]])
        m = 1.0
        for l in range(net.depth, 0, -1):
            slope = leaky_slope(a[l])
            d = m * slope * (h[l] - t)
            grads[f"{l}.weight"] += torch.outer(d, h[l - 1]) / count
            grads[f"{l}.bias"] += d / count
            k = gamma * slope**2 if adjust else gamma
            u = (1 - k) * h[l] + k * t
            drive = torch.where(u > 0, u, u / ALPHA) - params[f"{l}.bias"]
            t = torch.linalg.solve(params[f"{l}.weight"], drive)
            m = m / gamma
    return grads


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("adjust", [True, False])
@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_finite_form_is_the_published_recursion(gamma: float, adjust: bool, seed: int) -> None:
    net = make_network([16] * 4, LEAKY, "mse", classes=10)
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    grads = run_rule("gaitprop", net, params, batch, form="finite", gamma=gamma, adjust=adjust)
    assert worst(grads.grads, published_grads(net, params, batch, gamma, adjust)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_gait_4_a_unit_that_crosses_is_off_by_nine_times_its_overshoot(seed: int) -> None:
    stream = Stream(seed)
    side = torch.where(torch.arange(40) % 2 == 0, 1.0, -1.0).double()
    h = 0.1 * side * stream.at("h").uniform((40,))
    slope = leaky_slope(h)
    overshoot = 1e-3 + 0.01 * stream.at("u").uniform((40,))
    k = GAMMA * slope**2
    delta = (h + side * overshoot) / k  # puts u = h - k delta at -side overshoot
    u = incremental_target(h, h - delta, slope, GAMMA, adjust=True)
    given = parse_activation(LEAKY).inverse(u)
    a = torch.where(h > 0, h, h / ALPHA)
    missed = (a - k * delta / slope) - given
    expected = (1 / ALPHA - 1) * overshoot
    assert (u * side < 0).all()
    torch.testing.assert_close(missed, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["dense", "tower"])
def test_t_gait_5_itp_is_backprop_in_a_linear_orthogonal_network(kind: str, seed: int) -> None:
    widths = [64] * 6 if kind == "dense" else [64, 64, 40, 20, 10]
    net = make_network(widths, "identity", "mse", kind=kind, classes=10)
    params, batch = random_params(net, seed), random_batch(net, 12, seed)
    grads = run_rule("gaitprop", net, params, batch, adjust=False).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", [LEAKY, "tanh", "sigmoid", "identity"])
def test_t_gait_5_itp_error_is_the_inverse_jacobian_times_the_output_error(
    activation: str, loss: str, seed: int
) -> None:
    net = make_network([12] * 5, activation, loss, classes=5)
    params = random_params(net, seed, scheme="gaussian")
    for batch in single_examples(random_batch(net, 3, seed)):
        # in the range of bounded activations the rule is right, and cannot promise to stay
        rule = get_rule("gaitprop", adjust=False)
        grads = rule.update(net, params, State({}, {}), batch, {}).grads
        trace = net.forward(params, batch.x)
        jacobians = layer_jacobians(net, params, batch.x)
        e_top = net.loss.error(trace[-1].output, batch.y)[0]
        for l in range(1, net.depth):
            jacobian = chain(jacobians[l:])
            expected = torch.linalg.solve(jacobian, e_top)
            e = grads[f"{l}.bias"] / trace[l - 1].slope[0]
            assert rel(e, expected) <= EXACT * condition(jacobian)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("adjust", [True, False])
@pytest.mark.parametrize("form", ["difference", "finite"])
def test_t_gait_7_auxiliary_units_have_no_gradient(form: str, adjust: bool, seed: int) -> None:
    widths = (30, 30, 20, 12, 5)
    net = make_network(widths, LEAKY, "mse", kind="tower")
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    grads = run_rule("gaitprop", net, params, batch, form=form, adjust=adjust, ortho=0).grads
    for l, read_above in enumerate(widths[2:], start=1):
        assert not grads[f"{l}.weight"][read_above:].any()
        assert not grads[f"{l}.bias"][read_above:].any()
        assert grads[f"{l}.weight"][:read_above].any()


@pytest.fixture(scope="module")
def wide_orthogonal() -> list[Tensor]:
    """Five orthogonal matrices of the published width."""
    return [Stream(0).at("wide", l).orthogonal(784, 784) for l in range(5)]


@pytest.mark.parametrize("seed", SEEDS)
def test_float32_difference_form_is_float64_backprop_at_the_published_size(
    seed: int, wide_orthogonal: list[Tensor]
) -> None:
    net = make_network([784] * 6, LEAKY, "mse", classes=10)
    stream = Stream(seed)
    params: Params = {}
    for l, matrix in enumerate(wide_orthogonal, start=1):
        # reordered rows and columns, some negated: orthogonal still
        rows, columns = (stream.at(side, l).permutation(784) for side in ("rows", "columns"))
        signs = torch.sign(stream.at("signs", l).normal((784,)))
        params[f"{l}.weight"] = (signs[:, None] * matrix)[rows][:, columns].contiguous()
        params[f"{l}.bias"] = torch.zeros(784, dtype=torch.float64)
    pixels, inked = stream.at("pixels").uniform((60, 784)), stream.at("ink").uniform((60, 784))
    batch = random_batch(net, 60, seed)._replace(x=pixels * (inked < 0.2))
    expected = autograd_grads(net, params, batch)

    single = cast(params, torch.float32, torch.device("cpu"))
    grads = run_rule("gaitprop", net, single, Batch(*(t.float() for t in batch)), ortho=0).grads
    assert {grad.dtype for grad in grads.values()} == {torch.float32}
    assert worst(grads, expected) <= 1e-4


def test_supports_refuses_an_activation_without_inverse() -> None:
    reason = get_rule("gaitprop").supports(make_network([6] * 4, "relu", "mse"))
    assert reason is not None
    assert "layer 2" in reason
    assert "relu" in reason


def test_supports_refuses_a_rectangular_upper_layer() -> None:
    reason = get_rule("gaitprop").supports(make_network((6, 6, 5, 5), "tanh", "mse"))
    assert reason is not None
    assert "layer 2" in reason
    assert "5 x 6" in reason


@pytest.mark.parametrize("widths", [(9, 6, 6), (4, 6, 6)])
def test_supports_takes_a_rectangular_first_layer(widths: tuple[int, ...]) -> None:
    assert get_rule("gaitprop").supports(make_network(widths, LEAKY, "mse")) is None


def test_supports_takes_any_activation_in_the_first_layer() -> None:
    layers = (Dense(6, 6, parse_activation("relu")), Dense(6, 6, Tanh()))
    assert get_rule("gaitprop").supports(Network(layers, get_loss("mse"), 6)) is None
