"""GAIT-prop with learned inverses, and its ungated form ITP."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.learning.rule import State
from bioplaus.network.activations import parse_activation
from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.pooling import Flatten
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    condition,
    get_rule,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)

LEAKY = "leaky_relu(0.1)"
SHAPES = {
    "square": ("dense", (32,) * 4, 10),
    "rectangular below": ("dense", (20, 32, 32, 32), 10),
    "tower": ("tower", (32, 32, 20, 10), 10),
}


def exact_state(net: Network, params: Params) -> State:
    """V_l = W_l^{-1}, kept transposed, and c_l = b_l."""
    aux = {}
    for l in range(2, net.depth + 1):
        aux[f"{l}.weight"] = torch.linalg.inv(params[f"{l}.weight"]).T.contiguous()
        aux[f"{l}.bias"] = params[f"{l}.bias"].clone()
    return State(aux, {})


def inverse_of(activation: str, h: Tensor) -> Tensor:
    if activation == LEAKY:
        return torch.where(h > 0, h, 10 * h)
    return {"tanh": torch.atanh, "sigmoid": torch.logit}[activation](h)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("shape", SHAPES)
def test_t_gait_9_exact_inverse_is_a_fixed_point_and_gives_backprop(
    shape: str, loss: str, seed: int
) -> None:
    kind, widths, classes = SHAPES[shape]
    net = make_network(widths, LEAKY, loss, kind=kind, classes=classes)
    params, batch = random_params(net, seed), random_batch(net, 12, seed)
    state = exact_state(net, params)
    update = run_rule("gaitprop", net, params, batch, state=state, inverse="learned")
    assert update.aux_grads.keys() == state.aux.keys()
    assert all(grad.norm() <= 1e-12 for grad in update.aux_grads.values())
    assert worst(update.grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("adjust", [True, False])
def test_t_gait_9_at_the_exact_inverse_it_is_the_exact_rule_for_any_weights(
    adjust: bool, seed: int
) -> None:
    net = make_network([12] * 4, LEAKY, "mse", classes=5)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 8, seed)
    learned = run_rule(
        "gaitprop", net, params, batch, state=exact_state(net, params), inverse="learned",
        adjust=adjust,
    )  # fmt: skip
    exact = run_rule("gaitprop", net, params, batch, adjust=adjust)
    cond = condition(params["2.weight"]) * condition(params["3.weight"])
    assert worst(learned.grads, exact.grads) <= EXACT * cond


@pytest.mark.parametrize("seed", SEEDS)
def test_t_gait_9_finite_form_inverts_its_targets_with_the_learned_inverse(seed: int) -> None:
    """At the exact inverse it differs from the exact rule by rounding, eps / gamma^(L-1)."""
    net = make_network([16] * 4, LEAKY, "mse", classes=5)
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    learned = run_rule(
        "gaitprop", net, params, batch, state=exact_state(net, params), inverse="learned",
        form="finite",
    )  # fmt: skip
    exact = run_rule("gaitprop", net, params, batch, form="finite")
    assert worst(learned.grads, exact.grads) <= 1e-6


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("activation", [LEAKY, "tanh", "sigmoid"])
@pytest.mark.parametrize(
    ("kind", "widths"), [("dense", (9, 7, 12, 5)), ("dense", (6,) * 4), ("tower", (9, 9, 6, 4))]
)
def test_t_gait_9_inverse_learns_by_the_gradient_of_its_reconstruction_error(
    kind: str, widths: tuple[int, ...], activation: str, seed: int
) -> None:
    net = make_network(widths, activation, "mse", kind=kind, classes=4)
    params = random_params(net, seed, scheme="gaussian", bias=0.1)
    batch = random_batch(net, 6, seed)
    rule = get_rule("gaitprop", inverse="learned")
    state = rule.init_state(net, params, Stream(seed).at("state"))
    for l in range(2, net.depth + 1):
        state.aux[f"{l}.bias"] = 0.3 * Stream(seed).at("c", l).normal((widths[l],))
    grads = rule.update(net, params, state, batch, {}).aux_grads
    trace = net.forward(params, batch.x)
    expected = {}
    for l in range(2, net.depth + 1):
        transposed = state.aux[f"{l}.weight"].clone().requires_grad_()
        c = state.aux[f"{l}.bias"].clone().requires_grad_()
        h_above, h_below = trace[l - 1].output, trace[l - 2].output
        g = (inverse_of(activation, h_above) - c) @ transposed
        r = g - h_below[:, : g.shape[1]]
        loss = 0.5 * r.square().sum(1).mean()
        expected[f"{l}.weight"], expected[f"{l}.bias"] = torch.autograd.grad(loss, (transposed, c))
    # f^{-1}(f(a)) returns a with the digits that f has lost
    tolerance = EXACT if activation == LEAKY else 1e-11
    assert worst(grads, expected) <= tolerance


@pytest.mark.parametrize("seed", SEEDS)
def test_t_gait_9_a_convolutions_inverse_is_a_transposed_convolution(seed: int) -> None:
    stream, f = Stream(seed), parse_activation(LEAKY)
    first = Conv2d((2, 8, 7), 3, 2, activation=f)
    second = Conv2d(first.out_shape, 4, 3, stride=2, padding=1, activation=f, reads=2)
    flat = Flatten(second.out_shape)
    net = Network((first, second, flat, Dense(flat.out_shape[0], 5, f)), get_loss("mse"), 5)
    params = {name: 0.3 * stream.at(name).normal(t.shape) for name, t in net.init(stream).items()}
    batch = random_batch(net, 4, seed)
    rule = get_rule("gaitprop", inverse="learned")
    assert rule.supports(net) is None
    state = rule.init_state(net, params, stream.at("state"))
    state.aux["2.bias"] = 0.3 * stream.at("c").normal((4,))
    update = rule.update(net, params, state, batch, {})

    h_1, h_2 = (step.output for step in net.forward(params, batch.x)[:2])
    kernel, c = (state.aux[f"2.{name}"].clone().requires_grad_() for name in ("weight", "bias"))
    drive = inverse_of(LEAKY, h_2) - c[:, None, None]
    # 7 x 6 places below, of which the second layer's windows reach all but the last column
    g = torch.nn.functional.conv_transpose2d(
        drive, kernel, stride=2, padding=1, output_padding=(0, 1)
    )
    loss = 0.5 * (g - h_1[:, :2]).square().sum((1, 2, 3)).mean()
    expected = torch.autograd.grad(loss, (kernel, c))
    assert rel(update.aux_grads["2.weight"], expected[0]) <= EXACT
    assert rel(update.aux_grads["2.bias"], expected[1]) <= EXACT
    # the third channel of layer 1 is not read
    assert update.grads["1.weight"][:2].any()
    assert not update.grads["1.weight"][2:].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_t_gait_9_auxiliary_units_of_a_tower_have_no_gradient(seed: int) -> None:
    widths = (12, 12, 8, 4)
    net = make_network(widths, LEAKY, "mse", kind="tower")
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    for form in ("difference", "finite"):
        grads = run_rule("gaitprop", net, params, batch, seed, inverse="learned", form=form).grads
        for l, read_above in enumerate(widths[2:], start=1):
            assert not grads[f"{l}.weight"][read_above:].any()
            assert not grads[f"{l}.bias"][read_above:].any()


def test_learned_inverses_start_from_the_seed_and_leave_the_first_layer_out() -> None:
    net = make_network((9, 7, 7, 5), "tanh", "mse")
    rule = get_rule("gaitprop", inverse="learned")
    params = random_params(net, 0)
    first, again, other = (rule.init_state(net, params, Stream(s)) for s in (0, 0, 1))
    assert first.aux.keys() == {"2.weight", "2.bias", "3.weight", "3.bias"}
    assert first.aux["2.weight"].shape == params["2.weight"].shape
    assert torch.equal(first.aux["2.weight"], again.aux["2.weight"])
    assert not torch.equal(first.aux["2.weight"], other.aux["2.weight"])


def test_learned_inverses_train_layers_without_bias() -> None:
    net = make_network((6, 6, 6), LEAKY, "mse", bias=False)
    params, batch = random_params(net, 0), random_batch(net, 4, 0)
    update = run_rule("gaitprop", net, params, batch, inverse="learned")
    assert update.aux_grads.keys() == {"2.weight"}


def test_learned_inverses_need_no_square_weights_but_an_invertible_activation() -> None:
    rule = get_rule("gaitprop", inverse="learned")
    assert rule.supports(make_network((6, 6, 5, 9), "tanh", "mse")) is None
    reason = rule.supports(make_network((6, 6, 5), "relu", "mse"))
    assert reason is not None
    assert "relu" in reason


def test_learned_inverses_do_away_with_the_transport_of_inverses() -> None:
    assert get_rule("gaitprop").plausibility.weight_transport == "inverse"
    assert get_rule("gaitprop", inverse="learned").plausibility.weight_transport == "none"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("form", ["difference", "finite"])
def test_itp_is_gaitprop_without_the_adjustment(form: str, seed: int) -> None:
    net = make_network([8] * 4, LEAKY, "mse", classes=5)
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    itp = run_rule("itp", net, params, batch, form=form)
    gait = run_rule("gaitprop", net, params, batch, form=form, adjust=False)
    assert all(torch.equal(itp.grads[name], grad) for name, grad in gait.grads.items())
    assert get_rule("itp").preset_of == "gaitprop"


@pytest.mark.parametrize("seed", SEEDS)
def test_itp_finite_form_is_its_difference_form_with_one_hidden_layer(seed: int) -> None:
    """u = h - gamma e crosses zero nowhere, so that only rounding, eps / gamma, is left."""
    net = make_network([16] * 3, LEAKY, "mse", classes=5)
    params, batch = random_params(net, seed), random_batch(net, 40, seed)
    trace = net.forward(params, batch.x)
    h, e = trace[-1].output, net.loss.error(trace[-1].output, batch.y)
    kept = (2e-3 * e.abs() < h.abs()).all(1)
    assert kept.sum() >= 20
    batch = type(batch)(batch.x[kept], batch.y[kept])
    finite = run_rule("itp", net, params, batch, form="finite", gamma=1e-3).grads
    difference = run_rule("itp", net, params, batch).grads
    assert worst(finite, difference) <= 1e-8


def test_itps_published_targets_need_the_slope_in_its_own_update_only() -> None:
    """Its difference form divides by f' where the published form has f^{-1}."""
    assert get_rule("itp", form="finite").plausibility.needs_derivative == "local"
    assert get_rule("itp").plausibility.needs_derivative == "transport"


def test_each_negative_unit_multiplies_itps_error_by_ten() -> None:
    net = make_network([4] * 3, LEAKY, "mse")
    params, batch = random_params(net, 0), random_batch(net, 1, 0)
    params["2.bias"] = torch.full((4,), -50.0, dtype=torch.float64)
    trace = net.forward(params, batch.x)
    e = net.loss.error(trace[-1].output, batch.y)
    grads = run_rule("itp", net, params, batch).grads
    below = grads["1.bias"] / parse_activation(LEAKY).slope_at(trace[0].preactivation)[0]
    assert rel(below.norm(), 10 * e.norm()) <= EXACT
