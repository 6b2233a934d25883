"""Rules on convolutional networks: the identities that hold on dense ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.learning.rule import Batch, State
from bioplaus.learning.sweep import adjoint_transport, backward_sweep
from bioplaus.network.activations import LeakyRelu, Tanh
from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.pooling import AvgPool2d, Flatten, MaxPool2d
from bioplaus.numerics.conv_operators import conv
from bioplaus.numerics.random_streams import Stream
from bioplaus.rules.gaitprop import finite_deltas
from bioplaus.rules.inverses import exact_inverse, exact_transport
from tests.helpers.images import lenet, normal, params_of
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    get_rule,
    noise_for,
    random_batch,
    rel,
    run_rule,
    worst,
)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("pool", [MaxPool2d, AvgPool2d])
@pytest.mark.parametrize(("loss", "top"), [("mse", "tanh"), ("cross_entropy", "linear")])
def test_t_bp_convolutional_networks(
    loss: str, top: str, pool: type[MaxPool2d] | type[AvgPool2d], seed: int
) -> None:
    net = lenet(loss, top, pool, seed)
    params, batch = params_of(net, seed), random_batch(net, 5, seed)
    grads = run_rule("backprop", net, params, batch).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_fa_with_the_transpose_is_backprop_and_uses_nothing_else(seed: int) -> None:
    net = lenet("cross_entropy", "linear", MaxPool2d, seed)
    params, batch = params_of(net, seed), random_batch(net, 5, seed)
    drawn = get_rule("feedback-alignment").init_state(net, params, Stream(seed)).memory
    assert {k: v.shape for k, v in drawn.items()} == {
        f"{l}.weight": params[f"{l}.weight"].shape for l in (3, 6, 7)
    }
    mirrored = State({}, {name: params[name] for name in drawn})
    update = run_rule("feedback-alignment", net, params, batch, state=mirrored)
    assert worst(update.grads, autograd_grads(net, params, batch)) <= EXACT
    random = run_rule("feedback-alignment", net, params, batch, state=State({}, drawn))
    assert rel(random.grads["7.weight"], update.grads["7.weight"]) <= EXACT
    assert rel(random.grads["1.weight"], update.grads["1.weight"]) > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_t_pc_fixed_predictions_at_full_steps_are_backprop(seed: int) -> None:
    net = lenet("cross_entropy", "linear", MaxPool2d, seed)
    params, batch = params_of(net, seed), random_batch(net, 5, seed)
    options = {"fixed_prediction": True, "step_size": 1.0, "steps": net.depth}
    grads = run_rule("predictive-coding", net, params, batch, **options).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


def square_stack(stride: int, padding: int, reads: int | None) -> Network:
    """Two convolutions, the upper one square on its patches, and the way out."""
    first = Conv2d((2, 8, 7), 3, 2, 1, 0, LeakyRelu(0.1))
    patch = (3 if reads is None else reads) * 9
    second = Conv2d(first.out_shape, patch, 3, stride, padding, LeakyRelu(0.1), reads=reads)
    layers = (first, second, Flatten(second.out_shape))
    return Network(layers, get_loss("mse"), classes=10)


def square_pass(net: Network, params: Params, seed: int, size: int = 6) -> ForwardPass:
    """The two convolutions alone, with a random error at the output of the upper one."""
    x = normal(seed, "x", size, *net.in_shape)
    trace = net.forward(params, x)[:2]
    error = normal(seed, "error", *trace[-1].output.shape)
    upper = Network.__new__(Network)
    object.__setattr__(upper, "layers", net.layers[:2])
    return ForwardPass(upper, params, State({}, {}), Batch(x, x), trace, error, {})


SQUARE = [(1, 0, None), (2, 0, None), (3, 0, None), (1, 1, None), (2, 1, None), (2, 0, 2)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("stride", "padding", "reads"), SQUARE)
def test_t_gait_8_orthogonal_kernels_give_backprop(
    stride: int, padding: int, reads: int | None, seed: int
) -> None:
    net = square_stack(stride, padding, reads)
    params = params_of(net, seed)
    params["2.weight"] = net.init(Stream(seed))["2.weight"]  # orthogonal on patches
    batch = random_batch(net, 5, seed)
    update = run_rule("gaitprop", net, params, batch, ortho=0.0)
    assert worst(update.grads, autograd_grads(net, params, batch)) <= EXACT


def crosses(fwd: ForwardPass, gamma: float) -> Tensor:
    """Which samples the rule of T-GAIT-3 rejects, for the one layer that is inverted."""
    step = fwd.trace[1]
    moved = 2 * gamma * step.slope.square() * fwd.error.abs() >= step.output.abs()
    return moved.flatten(1).any(1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("stride", "padding", "reads"), SQUARE)
def test_t_gait_8_finite_targets_equal_the_difference_form(
    stride: int, padding: int, reads: int | None, seed: int
) -> None:
    gamma = 1e-3
    net = square_stack(stride, padding, reads)
    params = params_of(net, seed)
    fwd = square_pass(net, params, seed, size=200)
    kept = ~crosses(fwd, gamma)
    assert kept.sum() >= 1
    difference = backward_sweep(fwd, exact_transport(fwd))
    finite = finite_deltas(fwd, exact_inverse(fwd), gamma, adjust=True)
    transpose = backward_sweep(fwd, adjoint_transport(fwd, params))
    assert rel(finite[0][kept], difference[0][kept]) <= 1e-9
    assert rel(difference[0], transpose[0]) > 0.1  # not orthogonal: not backprop


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("stride", "padding", "reads"), SQUARE)
def test_t_gait_8_coverage_and_preimage(
    stride: int, padding: int, reads: int | None, seed: int
) -> None:
    net = square_stack(stride, padding, reads)
    layer = net.layers[1]
    assert isinstance(layer, Conv2d)
    p = net.at(params_of(net, seed), 1)
    h = normal(seed, "h", 3, *layer.in_shape)
    # mult: the inverse transport of the bias-free linear convolution of ones
    ones = torch.ones_like(h)
    linear = conv(layer.read(ones), p["weight"], stride, padding)
    mult = layer.read(layer.solve(p, (ones,), linear))
    assert rel(layer.coverage(h).expand_as(mult), mult) <= 1e-10
    a, residuals = layer.forward(p, h)
    assert rel(layer.preimage(p, residuals, a), h) <= 1e-10


@pytest.mark.parametrize("seed", SEEDS)
def test_learned_inverses_are_trained_on_convolutions(seed: int) -> None:
    """The gradient of the reconstruction loss, against autograd."""
    first = Conv2d((2, 8, 7), 3, 2, 1, 0, Tanh())
    second = Conv2d(first.out_shape, 5, 3, 2, 0, Tanh(), reads=2)
    flat = Flatten(second.out_shape)
    net = Network((first, second, flat, Dense(flat.out_shape[0], 4)), get_loss("mse"), 4)
    params, batch = params_of(net, seed), random_batch(net, 4, seed)
    rule = get_rule("targetprop")
    state = rule.init_state(net, params, Stream(seed))
    noise = noise_for(rule, net, batch, seed)
    update = rule.update(net, params, state, batch, noise)
    assert update.aux_grads.keys() == {"2.weight", "2.bias", "4.weight", "4.bias"}
    sigma = rule.config.noise  # type: ignore[attr-defined]
    leaves = {k: v.clone().requires_grad_() for k, v in state.aux.items()}
    xi = net.step(params, 0, batch.x).output + sigma * noise["2"]
    above = net.step(params, 1, xi).output
    image = torch.zeros(4, 2, *first.out_shape[1:], dtype=torch.float64, requires_grad=True)
    (back,) = torch.autograd.grad(
        F.conv2d(image, leaves["2.weight"], None, 2), image, above, create_graph=True
    )
    error = torch.tanh(back + leaves["2.bias"][:, None, None]) - xi[:, :2]
    loss = 0.5 * error.square().sum() / 4
    expected = torch.autograd.grad(loss, [leaves["2.weight"], leaves["2.bias"]])
    assert rel(update.aux_grads["2.weight"], expected[0]) <= EXACT
    assert rel(update.aux_grads["2.bias"], expected[1]) <= EXACT
