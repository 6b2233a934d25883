"""Convolutions and what leads back from them, against autograd and hand-made oracles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Relu
from bioplaus.network.conv import Conv2d, ConvTranspose2d
from bioplaus.network.layer import Init, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.pooling import AvgPool2d, MaxPool2d
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.task import read_task
from tests.helpers.images import LAYERS, layer_case, lenet, normal
from tests.helpers.networks import EXACT, SEEDS, get_rule, rel, worst


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
