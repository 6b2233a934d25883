"""Exact target propagation as published, and inverses learned by L-DRL."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.learning.batching import Rule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Batch, State, Update
from bioplaus.network.activations import parse_activation
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    chain,
    condition,
    get_rule,
    layer_jacobians,
    make_network,
    noise_for,
    random_batch,
    random_params,
    rel,
    run_rule,
    single_examples,
    worst,
)

LEAKY = "leaky_relu(0.1)"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["dense", "tower"])
def test_t_tp_exact_inverts_the_whole_target(kind: str, seed: int) -> None:
    widths = (10,) * 4 if kind == "dense" else (12, 12, 9, 5)
    net = make_network(widths, LEAKY, "mse", kind=kind, classes=5)
    params = random_params(net, seed, scheme="gaussian")
    for batch in single_examples(random_batch(net, 3, seed)):
        grads = run_rule("targetprop-exact", net, params, batch).grads
        h = [step.output[0] for step in net.forward(params, batch.x)]
        target = torch.cat([batch.y[0], h[-1][5:]])
        size = 1.0
        for l in range(net.depth, 0, -1):
            w, b = params[f"{l}.weight"], params[f"{l}.bias"]
            slope = torch.where(h[l - 1] > 0, 1.0, torch.tensor(0.1, dtype=torch.float64))
            d = slope * (h[l - 1] - target)
            assert rel(grads[f"{l}.bias"], d) <= EXACT * size
            if l > 1:
                a = torch.where(target > 0, target, 10 * target)
                read = torch.linalg.solve(w, a - b)
                target = torch.cat([read, h[l - 2][len(read) :]])
                # the targets' own size counts too: their difference to h is taken
                size *= condition(w) * 10 * max(1.0, float(target.norm() / h[l - 2].norm()))


@pytest.mark.parametrize("seed", SEEDS)
def test_t_tp_exact_is_gauss_newton_in_a_linear_network(seed: int) -> None:
    net = make_network([10] * 4, "identity", "mse", classes=10)
    params = random_params(net, seed, scheme="gaussian")
    for batch in single_examples(random_batch(net, 3, seed)):
        grads = run_rule("targetprop-exact", net, params, batch).grads
        e = net.loss.error(net.output(params, batch.x), batch.y)[0]
        jacobians = layer_jacobians(net, params, batch.x)
        for l in range(1, net.depth):
            jacobian = chain(jacobians[l:])
            expected = torch.linalg.solve(jacobian, e)
            assert rel(grads[f"{l}.bias"], expected) <= 1e-11 * condition(jacobian)


def test_targetprop_exact_has_the_published_settings() -> None:
    rule = get_rule("targetprop-exact")
    assert rule.preset_of == "targetprop"
    options = rule.config.model_dump()
    assert (options["inverse"], options["target_step"], options["ortho"]) == ("exact", 1, 1000)
    assert rule.optimizer == OptimizerSpec(name="adam", lr=1e-5, betas=(0.9, 0.99))
    assert rule.plausibility.weight_transport == "inverse"


def l_drl(net: Network, params: Params, l: int, h: Tensor, inverse: Params, dx: Tensor,
          dy: Tensor) -> Tensor:  # fmt: skip
    """The loss as defined, for layer l (from 1) of a dense or tower network."""
    w, b = params[f"{l}.weight"], params[f"{l}.bias"]
    f = net.layers[l - 1].activation

    def layer(x: Tensor) -> Tensor:
        return f(x[:, : w.shape[1]] @ w.T + b)

    def g(v: Tensor) -> Tensor:
        return f(v) @ inverse["weight"].T + inverse["bias"]

    rest = g(layer(h))
    push = (dx[:, : w.shape[1]] * (g(layer(h + dx)) - rest)).sum(1)
    pull = (g(layer(h) + dy) - rest).square().sum(1)
    return (-2 * push + pull).mean()


def l_drl_gradient(net: Network, params: Params, l: int, h: Tensor, inverse: Params, dx: Tensor,
                   dy: Tensor) -> Params:  # fmt: skip
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in inverse.items()}
    loss = l_drl(net, params, l, h, leaves, dx, dy)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def state_with_biases(rule: Rule, net: Network, params: Params, seed: int) -> State:
    state = rule.init_state(net, params, Stream(seed).at("state"))
    shift = {
        name: 0.3 * Stream(seed).at("c", name).normal(tensor.shape)
        for name, tensor in state.aux.items()
        if name.endswith("bias")
    }
    return State(state.aux | shift, state.memory)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("activation", [LEAKY, "tanh", "sigmoid"])
@pytest.mark.parametrize(("kind", "widths"), [("dense", (9, 7, 8, 5)), ("tower", (9, 9, 7, 4))])
def test_t_tp_5_l_drl_gradient_is_that_of_the_loss(
    kind: str, widths: tuple[int, ...], activation: str, seed: int
) -> None:
    net = make_network(widths, activation, "mse", kind=kind, classes=4)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 6, seed)
    rule = get_rule("targetprop", inverse_loss="l-drl", noise=0.3, output_noise=0.2)
    state = state_with_biases(rule, net, params, seed)
    noise = noise_for(rule, net, batch, seed)
    grads = rule.update(net, params, state, batch, noise).aux_grads
    trace = net.forward(params, batch.x)
    for l in range(2, net.depth + 1):
        inverse = net.at(state.aux, l - 1)
        dx, dy = 0.3 * noise[f"{l}.input"][0], 0.2 * noise[f"{l}.output"][0]
        expected = l_drl_gradient(net, params, l, trace[l - 2].output, inverse, dx, dy)
        ours = net.at(grads, l - 1)
        assert rel(ours["weight"], expected["weight"]) <= EXACT
        # c_l cancels, and rounding that is left of it would be all there is of its gradient
        assert float(expected["bias"].norm()) <= EXACT * float(expected["weight"].norm())
        assert not ours["bias"].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_l_drl_iterations_are_steps_of_descent_on_fresh_noise(seed: int) -> None:
    """Along the batch's aux_grads, one step of the rule's own optimizer does them all."""
    net = make_network((9, 7, 8, 5), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    rule = get_rule(
        "targetprop", inverse_loss="l-drl", inverse_iterations=4, inverse_lr=0.7, noise=0.3,
        output_noise=0.2,
    )  # fmt: skip
    state = state_with_biases(rule, net, params, seed)
    noise = noise_for(rule, net, batch, seed)
    assert noise["2.input"].shape == (4, 6, 7)
    assert noise["2.output"].shape == (4, 6, 8)
    update = rule.update(net, params, state, batch, noise)
    assert rule.aux_optimizer == OptimizerSpec(name="sgd", lr=0.7)
    after = {name: tensor - 0.7 * update.aux_grads[name] for name, tensor in state.aux.items()}
    trace = net.forward(params, batch.x)
    expected = {}
    for l in (2, 3):
        inverse = net.at(state.aux, l - 1)
        for k in range(4):
            dx, dy = 0.3 * noise[f"{l}.input"][k], 0.2 * noise[f"{l}.output"][k]
            gradient = l_drl_gradient(net, params, l, trace[l - 2].output, inverse, dx, dy)
            inverse = {name: inverse[name] - 0.7 * gradient[name] for name in inverse}
        expected |= {f"{l}.{name}": tensor for name, tensor in inverse.items()}
    assert worst(after, expected) <= EXACT


def isotropic(units: int, copies: int) -> Tensor:
    """Noise whose first moment is 0 and second moment I exactly, (2 units copies, units)."""
    axes = units**0.5 * torch.eye(units, dtype=torch.float64)
    return torch.cat([axes, -axes]).repeat(copies, 1)


def l_drl_update(net: Network, params: Params, state: State, sigma: float, ratio: float,
                 x: Tensor) -> Update:  # fmt: skip
    """One L-DRL update of a two-layer net with isotropic noise, the layer's widths equal."""
    width = net.layers[1].out_shape[0]
    noise = isotropic(width, len(x) // (2 * width))[None]
    rule = get_rule("targetprop", inverse_loss="l-drl", noise=sigma, output_noise=sigma * ratio)
    batch = Batch(x, torch.zeros(len(x), net.classes, dtype=torch.float64))
    return rule.update(net, params, state, batch, {"2.input": noise, "2.output": noise})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ratio", [1.0, 0.5, 3.0])
def test_l_drl_minimum_is_the_transpose_in_a_linear_network(ratio: float, seed: int) -> None:
    """With exact moments, the loss is quadratic: one Newton step, 1 / (2 sigma_y^2), lands.

    J_g = sigma_x^2 / sigma_y^2 J_f^T, and that is J_f^T where the variances are equal.
    """
    net = make_network([6] * 3, "identity", "mse")
    params = random_params(net, seed, scheme="gaussian")
    sigma, x = 0.3, random_batch(net, 12, seed).x
    state = state_with_biases(get_rule("targetprop"), net, params, seed)
    grads = l_drl_update(net, params, state, sigma, ratio, x).aux_grads
    step = 1 / (2 * (sigma * ratio) ** 2)
    learned = state.aux["2.weight"] - step * grads["2.weight"]
    assert rel(learned, params["2.weight"].T / ratio**2) <= EXACT
    there = State(state.aux | {"2.weight": learned}, {})
    assert l_drl_update(net, params, there, sigma, ratio, x).aux_grads["2.weight"].norm() <= 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_l_drl_gradient_is_that_of_the_jacobians_distance_for_small_noise(seed: int) -> None:
    """L-DRL / sigma^2 tends to ||J_g - J_f^T||^2 up to a constant, with an error of sigma^2."""
    net = make_network([5] * 3, "tanh", "mse")
    params = random_params(net, seed, scheme="gaussian")
    state = state_with_biases(get_rule("targetprop"), net, params, seed)
    x = random_batch(net, 1, seed).x
    h = net.forward(params, x)[0].output[0]
    w, b = params["2.weight"], params["2.bias"]
    tanh = parse_activation("tanh")
    j_f = tanh.slope_at(w @ h + b)[:, None] * w
    above = torch.tanh(w @ h + b)
    v = state.aux["2.weight"].clone().requires_grad_()
    j_g = v * tanh.slope_at(above)
    (expected,) = torch.autograd.grad((j_g - j_f.T).square().sum(), v)

    def distance(sigma: float) -> float:
        grads = l_drl_update(net, params, state, sigma, 1.0, x.expand(10, -1)).aux_grads
        return rel(grads["2.weight"] / sigma**2, expected)

    assert distance(1e-3) <= 1e-4
    assert 90 <= distance(1e-2) / distance(1e-3) <= 110


def test_iterations_belong_to_l_drl() -> None:
    with pytest.raises(ConfigError, match="inverse_iterations"):
        get_rule("targetprop", inverse_iterations=2)


def test_l_drl_wants_noise_above_and_below_and_exact_inverses_none() -> None:
    net = make_network((9, 7, 8, 5), "tanh", "mse")
    assert get_rule("targetprop").noise(net, 3).keys() == {"2", "3"}
    assert get_rule("targetprop", inverse_loss="l-drl").noise(net, 3).keys() == {
        "2.input", "2.output", "3.input", "3.output",
    }  # fmt: skip
    assert get_rule("targetprop-exact").noise(net, 3) == {}
