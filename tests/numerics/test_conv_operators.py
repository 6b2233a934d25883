"""Layers on images: every operation against autograd or a hand-made oracle, in float64."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from bioplaus.errors import ConfigError
from bioplaus.learning import batching as replicas
from bioplaus.learning.batching import batched_loss_grad, batched_update, stack, stacked_initial
from bioplaus.learning.rule import Batch, ForwardPass, State
from bioplaus.learning.sweep import adjoint_transport, backward_sweep
from bioplaus.network.activations import Identity, LeakyRelu, Relu, Tanh
from bioplaus.network.conv import Conv2d, ConvTranspose2d
from bioplaus.network.layer import Dense, Init, Layer, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.pooling import AvgPool2d, Flatten, MaxPool2d, Unflatten
from bioplaus.numerics import conv_operators as convolution
from bioplaus.numerics.conv_operators import conv, conv_adjoint, conv_weight_grad
from bioplaus.numerics.random_streams import Stream
from bioplaus.rules.gaitprop import finite_deltas
from bioplaus.rules.inverses import exact_inverse, exact_transport
from bioplaus.tasks.task import read_task
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

GEOMETRIES = [
    (1, 1, 0),
    (3, 1, 0),
    (3, 1, 1),
    (3, 2, 0),
    (3, 2, 1),
    (2, 3, 0),
    (4, 3, 3),
    (5, 1, 2),
]
"""Kernel, stride and padding; on 7 x 6 some leave a border that no window covers."""
SIZE = (7, 6)


def normal(seed: int, name: str, *shape: int) -> Tensor:
    return Stream(seed).at("test", name).normal(shape)


def random_like(params: Params, seed: int) -> Params:
    return {k: 0.4 * normal(seed, k, *v.shape) for k, v in params.items()}


def conv_layer(kernel: int, stride: int, padding: int, **options: Any) -> Conv2d:
    return Conv2d((3, *SIZE), 4, kernel, stride, padding, **options)


LAYERS: dict[str, Layer] = {
    **{f"conv {k}/{s}/{p}": conv_layer(k, s, p) for k, s, p in GEOMETRIES},
    **{f"up {k}/{s}/{p}": ConvTranspose2d(conv_layer(k, s, p)) for k, s, p in GEOMETRIES},
    "conv reads 2": conv_layer(3, 1, 1, reads=2),
    "conv no bias": conv_layer(3, 2, 1, bias=False),
    "up reads 2": ConvTranspose2d(conv_layer(3, 2, 0, reads=2)),
    **{f"max {k}/{s}": MaxPool2d((3, *SIZE), k, s) for k, s in [(2, None), (3, 2), (2, 3)]},
    **{f"avg {k}/{s}": AvgPool2d((3, *SIZE), k, s) for k, s in [(2, None), (3, 2), (2, 3)]},
    "flatten": Flatten((3, *SIZE)),
    "unflatten": Unflatten((3, *SIZE)),
}


def layer_case(name: str, seed: int, size: int = 4) -> tuple[Layer, Params, Tensor, Tensor]:
    """A layer with random parameters, an input and errors at its output."""
    layer = LAYERS[name]
    p = random_like(layer.init(Stream(seed), Init()), seed)
    h = normal(seed, "h", size, *layer.in_shape)
    return layer, p, h, normal(seed, "d", size, *layer.out_shape)


def torch_forward(name: str, p: Params, h: Tensor) -> Tensor:
    """The same map in torch's own terms."""
    layer = LAYERS[name]
    match layer:
        case Conv2d():
            seen = h[:, : layer.reads]
            return F.conv2d(seen, p["weight"], p.get("bias"), layer.stride, layer.padding)
        case ConvTranspose2d(of=of):
            # by its definition, the gradient of the convolution at its input
            x = torch.zeros(len(h), *layer.out_shape, dtype=h.dtype, requires_grad=True)
            y = F.conv2d(x, p["weight"], None, of.stride, of.padding)
            (back,) = torch.autograd.grad(y, x, h, create_graph=True)
            return back + p["bias"][:, None, None]
        case MaxPool2d():
            return F.max_pool2d(h, layer.kernel, layer.stride)
        case AvgPool2d():
            return F.avg_pool2d(h, layer.kernel, layer.stride)
        case _:
            return h.reshape(len(h), *layer.out_shape)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", LAYERS)
def test_operations_equal_autograd(name: str, seed: int) -> None:
    layer, p, h, d = layer_case(name, seed)
    leaves = {k: v.clone().requires_grad_() for k, v in p.items()}
    x = h.clone().requires_grad_()
    expected = torch_forward(name, leaves, x)
    assert tuple(expected.shape[1:]) == layer.out_shape
    a, residuals = layer.forward(p, h)
    assert rel(a, expected.detach()) <= 1e-14
    gradients = torch.autograd.grad(expected, [x, *leaves.values()], d)
    assert rel(layer.adjoint(p, residuals, d), gradients[0]) <= 1e-13
    means = layer.weight_grad(residuals, d)
    assert (
        worst(means, {k: g / len(h) for k, g in zip(leaves, gradients[1:], strict=True)}) <= 1e-13
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [n for n in LAYERS if "max" not in n])
def test_adjoint_identity(name: str, seed: int) -> None:
    """<d, W h> = <W^T d, h>, for the linear part."""
    layer, p, h, d = layer_case(name, seed)
    a, residuals = layer.forward(p, h)
    linear = a - layer.forward(p, torch.zeros_like(h))[0]
    left = (d * linear).sum()
    right = (layer.adjoint(p, residuals, d) * h).sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


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


@pytest.mark.parametrize("one_by_one", [True, False], ids=["looped", "grouped"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("name", ["conv", "adjoint", "weight_grad"])
def test_batched_operators_equal_one_replica_at_a_time(
    name: str,
    geometry: tuple[int, int, int],
    count: int,
    one_by_one: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convolution, "_one_by_one", lambda device: one_by_one)
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


def lenet(loss: str, top: str, pool: type[MaxPool2d] | type[AvgPool2d], seed: int) -> Network:
    """Two convolutions, one strided and padded, pooling, flatten and two dense layers."""
    hidden = Tanh() if seed % 2 else LeakyRelu(0.1)
    layers: list[Layer] = [Conv2d((2, 9, 8), 3, 3, 1, 1, hidden)]
    layers.append(pool(layers[-1].out_shape, 2))
    layers.append(Conv2d(layers[-1].out_shape, 4, 2, 2 if seed % 3 else 1, 1, hidden))
    layers.append(pool(layers[-1].out_shape, 2, 1))
    layers.append(Flatten(layers[-1].out_shape))
    layers.append(Dense(layers[-1].out_shape[0], 7, hidden))
    layers.append(Dense(7, 5, Identity() if top == "linear" else Tanh()))
    return Network(tuple(layers), get_loss(loss), classes=4)


def params_of(net: Network, seed: int) -> Params:
    return random_like(net.init(Stream(seed)), seed)


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


RULES = {"backprop": {}, "feedback-alignment": {}, "predictive-coding": {"steps": 3}}


@pytest.mark.parametrize("chunked", [False, True], ids=["vmap", "chunks"])
@pytest.mark.parametrize("name", RULES)
def test_replicas_together_equal_each_alone_and_the_step_can_be_traced(
    name: str, chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = lenet("cross_entropy", "linear", MaxPool2d, 0)
    rule = get_rule(name, **RULES[name])
    seeds = [0, 1, 2]
    params, state = stacked_initial(rule, net, seeds, torch.float64, torch.device("cpu"))
    batches = [random_batch(net, 5, seed) for seed in seeds]
    batch = Batch(torch.stack([b.x for b in batches]), torch.stack([b.y for b in batches]))
    noise = stack([noise_for(rule, net, b) for b in batches])
    monkeypatch.setattr(replicas, "_CACHED_ACTIVITIES", 0 if chunked else 2**60)
    step = batched_update(rule, net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        update = step(params, state, batch, noise)
        true = batched_loss_grad(net)(params, batches[0])
    for r in seeds:
        mine = {k: v[r] for k, v in params.items()}
        alone = State({}, {k: v[r] for k, v in state.memory.items()})
        expected = rule.update(net, mine, alone, batches[r], {})
        assert worst({k: v[r] for k, v in update.grads.items()}, expected.grads) <= EXACT
        gradient = autograd_grads(net, mine, batches[0])
        assert worst({k: v[r] for k, v in true.items()}, gradient) <= EXACT
    traced = make_fx(lambda p, m, x, y: step(p, State({}, m), Batch(x, y), noise).grads)(
        params, state.memory, *batch
    )
    again = traced(params, state.memory, *batch)
    assert all(torch.equal(again[k], update.grads[k]) for k in update.grads)


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


def test_t_gait_8_solve_inverts_patch_by_patch() -> None:
    """Without overlap every patch is its own linear system."""
    layer = Conv2d((2, 6, 4), 8, 2, 2)
    p = {"weight": normal(0, "w", 8, 2, 2, 2), "bias": normal(0, "b", 8)}
    d = normal(0, "d", 3, *layer.out_shape)
    expected = torch.zeros(3, 2, 6, 4, dtype=torch.float64)
    for i in range(3):
        for j in range(2):
            patch = torch.linalg.solve(p["weight"].reshape(8, 8), d[:, :, i, j].T).T
            expected[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = patch.reshape(3, 2, 2, 2)
    h = normal(0, "h", 3, *layer.in_shape)
    assert rel(layer.solve(p, (h,), d), expected) <= EXACT


def test_what_has_no_inverse_says_why() -> None:
    assert "8 x 18" in str(Conv2d((2, 6, 6), 8, 3).why_not_invertible())
    assert "2 x 3^2 = 18 channels" in str(Conv2d((2, 6, 6), 8, 3).why_not_invertible())
    assert Conv2d((2, 6, 6), 18, 3).why_not_invertible() is None
    assert Conv2d((5, 6, 6), 18, 3, reads=2).why_not_invertible() is None
    for pool in (MaxPool2d((2, 6, 6), 2), AvgPool2d((2, 6, 6), 2)):
        assert pool.kind in str(pool.why_not_invertible())
        assert pool.kind in str(pool.why_not_reversible())
    reason = get_rule("gaitprop").supports(lenet("mse", "tanh", MaxPool2d, 0))
    assert reason is not None and "layer 2" in reason and "max_pool2d" in reason


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [n for n in LAYERS if "conv" in n or "flatten" in n])
def test_reverse_layers_lead_back_to_what_is_read(name: str, seed: int) -> None:
    layer = LAYERS[name]
    assert layer.why_not_reversible() is None
    back = layer.reverse(Relu())
    p = back.init(Stream(seed), Init())
    assert back.in_shape == layer.out_shape
    read = layer.read(torch.zeros(1, *layer.in_shape))
    assert back.out_shape == tuple(read.shape[1:])
    output = back.trace(p, normal(seed, "v", 2, *back.in_shape)).output
    assert tuple(output.shape[1:]) == back.out_shape


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


@pytest.mark.parametrize("scheme", ["xavier_normal", "xavier_uniform", "lecun_normal"])
def test_initial_kernels_have_the_variance_of_their_fans(scheme: Any) -> None:
    layer = Conv2d((8, 9, 9), 24, 5)
    fan_in, fan_out = 8 * 25, 24 * 25
    variance = 1 / fan_in if scheme == "lecun_normal" else 2 / (fan_in + fan_out)
    weight = layer.init(Stream(0), Init(scheme, 2.0))["weight"]
    assert weight.shape == (24, 8, 5, 5)
    assert float(weight.var()) == pytest.approx(4 * variance, rel=0.1)
    back = layer.reverse(Relu()).init(Stream(0), Init(scheme, 2.0))["weight"]
    up = 1 / fan_out if scheme == "lecun_normal" else variance
    assert back.shape == weight.shape and float(back.var()) == pytest.approx(4 * up, rel=0.1)


def test_initial_kernels_are_orthogonal_on_patches() -> None:
    for channels in (4, 18, 30):
        layer = Conv2d((2, 6, 6), channels, 3)
        matrix = layer.matrix(layer.init(Stream(3), Init("orthogonal")))
        assert matrix is not None and matrix.shape == (channels, 18)
        gram = matrix @ matrix.T if channels <= 18 else matrix.T @ matrix
        assert rel(gram, torch.eye(len(gram), dtype=torch.float64)) <= EXACT


def test_max_pool_routes_to_the_first_of_equals() -> None:
    layer = MaxPool2d((1, 2, 2), 2)
    h = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    _, residuals = layer.forward({}, h)
    back = layer.adjoint({}, residuals, torch.full((1, 1, 1, 1), 5.0, dtype=torch.float64))
    assert back.flatten().tolist() == [5.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda: Conv2d((1, 4, 4), 2, 5), "5 x 5 kernel does not fit on an input of 4 x 4"),
        (lambda: MaxPool2d((1, 4, 1), 2), "2 x 2 kernel does not fit on an input of 4 x 1"),
        (lambda: Conv2d((16,), 2, 3), r"has the shape \(16,\)"),
        (lambda: Conv2d((1, 4, 4), 2, 3, padding=3), "padding 3"),
        (lambda: Conv2d((1, 4, 4), 2, 3, reads=2), "cannot read 2 of 1 channels"),
        (
            lambda: Network((Conv2d((1, 4, 4), 2, 3),), get_loss("mse"), 2),
            r"\(2, 2, 2\), not a vector",
        ),
    ],
)
def test_impossible_layers(build: Callable[[], object], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        build()


def test_multiply_adds() -> None:
    net = read_task("mnist-conv").build_network()
    assert [layer.multiply_adds() for layer in net.layers] == [
        6 * 28 * 28 * 25,
        0,
        16 * 10 * 10 * 150,
        0,
        0,
        400 * 120,
        120 * 84,
        84 * 10,
    ]


def test_four_seeds_take_at_most_4_2_times_one() -> None:
    """Interleaved steps of mnist-conv on one thread, in processor time: others may run too."""
    net = read_task("mnist-conv").build_network()
    rule = get_rule("backprop")
    step = batched_update(rule, net)
    arguments = {}
    for count in (1, 4):
        params, state = stacked_initial(rule, net, range(count), torch.float32, torch.device("cpu"))
        x = torch.rand(count, 128, *net.in_shape)
        y = F.one_hot(torch.arange(128) % 10, 10).float().expand(count, 128, 10)
        arguments[count] = (params, state, Batch(x, y), {})
    ratios = []
    for _ in range(6):
        seconds: dict[int, list[float]] = {1: [], 4: []}
        for _ in range(8):
            for count, given in arguments.items():
                start = time.process_time()
                with torch.no_grad():
                    step(*given)
                seconds[count].append(time.process_time() - start)
        ratios.append(statistics.median(seconds[4]) / statistics.median(seconds[1]))
        if ratios[-1] <= 4.2:
            return
    pytest.fail(f"four seeds take {', '.join(f'{r:.2f}' for r in ratios)} times one")
