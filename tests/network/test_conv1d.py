"""Convolution along a signal: torch's own, its adjoint and gradient; published networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from bioplaus.errors import ConfigError
from bioplaus.network.conv import Conv2d
from bioplaus.network.conv1d import Conv1d
from bioplaus.network.layer import Init
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins.registry import load
from bioplaus.tasks.task import read_task
from bioplaus.testing.layers import check_layer
from tests.helpers.tiny import TINY
from tests.helpers.training import train

LAYERS = [
    Conv1d((11,), 3, 5, 2, 1),
    Conv1d((4, 1, 10), 2, 3, 2, 1),
    Conv1d((2, 1, 9), 5, 4, 3),
    Conv1d((2, 1, 7), 3, 7, bias=False),
    Conv1d((3, 1, 6), 2, 1),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_its_algebra_is_that_of_its_forward_pass(layer: Conv1d) -> None:
    check_layer(layer)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_it_is_torchs(layer: Conv1d) -> None:
    params = {n: torch.randn_like(p) for n, p in layer.init(Stream(0), Init()).items()}
    theirs = nn.Conv1d(
        layer.channels_below, layer.channels, layer.kernel, layer.stride, layer.padding,
        bias=layer.bias, dtype=torch.float64,
    )  # fmt: skip
    theirs.load_state_dict(params)
    x = Stream(1).normal((6, layer.channels_below, layer.in_shape[-1]))
    due = theirs(x)
    ours, _ = layer.forward(params, x.reshape(6, *layer.in_shape))
    assert ours.shape == (6, *layer.out_shape) and layer.out_shape[1] == 1
    torch.testing.assert_close(ours.squeeze(2), due, rtol=1e-12, atol=1e-12)


def test_a_row_of_the_design_is_a_patch() -> None:
    """W's gradient is d^T rows / N, as the layer contract has it."""
    layer = LAYERS[1]
    params = layer.init(Stream(0), Init())
    h, d = Stream(1).normal((6, *layer.in_shape)), Stream(2).normal((6, *layer.out_shape))
    _, residuals = layer.forward(params, h)
    found = layer.design(residuals, d)
    assert found is not None
    rows, each = found
    due = layer.weight_grad(residuals, d)["weight"].flatten(1)
    torch.testing.assert_close(each.T @ rows / 6, due, rtol=1e-12, atol=1e-12)


def test_it_starts_as_wide_as_an_image_of_one_column_would() -> None:
    """Fans are channels times kernel: variance 2 / (fan_in + fan_out)."""
    layer = Conv1d((20, 1, 50), 30, 5)
    weight = layer.init(Stream(0), Init("xavier_normal"))["weight"]
    assert float(weight.var()) == pytest.approx(2 / (20 * 5 + 30 * 5), rel=0.1)
    assert layer.multiply_adds() == 30 * 46 * 20 * 5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (((2, 3, 5), 1, 3), r"its input has the shape \(2, 3, 5\)"),
        (((5,), 1, 6), "does not fit on a signal of 5"),
        (((5,), 1, 3, 0), "make no window"),
        (((5,), 1, 3, 1, 3), "make no window"),
    ],
)
def test_what_makes_no_convolution_is_refused(given: tuple[int, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Conv1d(*given)  # type: ignore[arg-type]


def test_the_authors_network_of_mnist1d() -> None:
    """40, then 19, 10 and 5 places of 25 channels, and 125 values to the classes."""
    net = read_task("mnist1d-conv").build_network()
    shapes = [layer.out_shape for layer in net.layers]
    assert shapes == [(25, 1, 19), (25, 1, 10), (25, 1, 5), (125,), (10,)]
    assert not any(isinstance(layer, Conv2d) for layer in net.layers)
    for name in ("backprop", "feedback-alignment", "predictive-coding", "local-losses"):
        assert load("rule", name).configured().supports(net) is None


def test_the_network_of_equilibrium_propagation_on_cifar10() -> None:
    """Laborieux et al. 2021: 32, 16, 8, 4 and 2 pixels a side, 1 after the last pooling."""
    net = read_task("cifar10-conv").build_network()
    convolutions = [layer for layer in net.layers if isinstance(layer, Conv2d)]
    assert [layer.out_shape for layer in convolutions] == [
        (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 2, 2)
    ]  # fmt: skip
    assert net.layers[-2].out_shape == (512,)
    assert load("rule", "equilibrium-propagation").configured().supports(net) is None


def test_many_seeds_train_together_on_it(tiny: Path, tmp_path: Path) -> None:
    """Forward, backward and the probe's gradient under vmap, without a fallback that warns."""
    layers = """layers = [
    { type = "conv1d", channels = 4, kernel = 5, stride = 3, padding = 1, activation = "tanh" },
    { type = "conv1d", channels = 4, kernel = 3, stride = 2, activation = "tanh" },
    { type = "flatten" },
"""
    text = TINY.replace('"digits"', '"mnist1d"').replace("937", "3500")
    tiny.write_text(text.replace("layers = [\n", layers))
    rules = ("backprop", "feedback-alignment", "predictive-coding", "local-losses")
    done = train(tiny, tmp_path / "r", *rules)
    assert not done.problems and len(done.records) == 2 * len(rules)
    (exact, _) = (r for r in done.records if r.rule == "backprop")
    cosines = [c for n, c in exact.curves.alignment["loss"].items() if n.startswith("cosine")]
    assert len(cosines) == 4
    for curve in cosines:
        assert curve == pytest.approx([1.0, 1.0], abs=1e-5)
