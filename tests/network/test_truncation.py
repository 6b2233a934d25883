"""Truncation: exact against autograd, bounded under attack, trained by rules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Identity, parse_activation
from bioplaus.network.layer import Dense, Init, Layer
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.truncation import Truncate, TruncatedDense, kept
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.tasks.task import read_task
from bioplaus.testing.cases import Case
from bioplaus.testing.contract import purity, reach, shapes, vmap
from tests.helpers.networks import (
    autograd_grads,
    draw,
    every_seed,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)


def test_what_is_kept_by_hand() -> None:
    values = torch.tensor([[3.0, -1.0, 2.0, 7.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    assert kept(values, 1).tolist() == [[1, 0, 1, 0, 1], [0, 1, 1, 1, 0]]
    assert kept(values, 2).tolist() == [[0, 0, 1, 0, 0], [0, 0, 1, 0, 0]]


N, K = 40, 5


@every_seed
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_t_l0_3_changed_inputs_stay_within_bounds(scale: float, seed: int) -> None:
    layer = TruncatedDense(N, 3, K, bias=False)
    w, x = draw(seed, "w", 3, N), draw(seed, "x", 1, N)
    products = (w * x).sort(dim=1).values
    low, high = products[:, : N - 2 * K].sum(1), products[:, 2 * K :].sum(1)
    changed = x.repeat(50, 1)
    for row in range(50):
        where = Stream(seed).at("where", row).permutation(N)[:K]
        changed[row, where] = scale * draw(seed, f"to {row}", K)
    a, _ = layer.forward({"weight": w}, changed)
    assert (a >= low - 1e-9).all() and (a <= high + 1e-9).all()
    plain, _ = Dense(N, 3, bias=False).forward({"weight": w}, changed)
    if scale > 1:
        assert ((plain < low) | (plain > high)).any()  # which nothing holds without truncation


LAYERS: dict[str, Layer] = {
    "tip": TruncatedDense(9, 4, 2),
    "tip without bias": TruncatedDense(9, 4, 4, bias=False),
    "clip": Truncate((2, 3, 4), 5),
    "simple": Truncate((9,), 3, window=True),
    "simple of images": Truncate((2, 3, 2), 2, window=True),
}


@every_seed
@pytest.mark.parametrize("name", LAYERS)
def test_t_l0_4_adjoint_and_weight_gradient_are_autograds(name: str, seed: int) -> None:
    layer = LAYERS[name]
    p = layer.init(Stream(seed), Init("xavier_normal"))
    p = {key: (value + draw(seed, key, *value.shape)).requires_grad_() for key, value in p.items()}
    h = draw(seed, "h", 6, *layer.in_shape).requires_grad_()
    a, residuals = layer.forward(p, h)
    d = draw(seed, "d", *a.shape)
    below, *own = torch.autograd.grad(a, [h, *p.values()], d)
    with torch.no_grad():
        assert rel(layer.adjoint(p, residuals, d), below) <= 1e-13
        found = layer.weight_grad(residuals, d)
        assert found.keys() == p.keys()
        for key, gradient in zip(p, own, strict=True):
            assert rel(6 * found[key], gradient) <= 1e-13


def test_t_l0_4_without_truncation_it_is_a_dense_layer() -> None:
    layer, dense = TruncatedDense(9, 4, 0), Dense(9, 4)
    p, h, d = layer.init(Stream(0), Init()), draw(0, "h", 6, 9), draw(0, "d", 6, 4)
    (a, residuals), (due, theirs) = layer.forward(p, h), dense.forward(p, h)
    assert rel(a, due) <= 1e-14
    assert rel(layer.adjoint(p, residuals, d), dense.adjoint(p, theirs, d)) <= 1e-14
    assert worst(layer.weight_grad(residuals, d), dense.weight_grad(theirs, d)) <= 1e-14


def truncated() -> Network:
    tanh, linear = parse_activation("tanh"), Identity()
    layers: tuple[Layer, ...] = (
        Truncate((9,), 1, window=True),
        TruncatedDense(9, 8, 2, tanh),
        Truncate((8,), 1),
        Dense(8, 7, tanh),
        TruncatedDense(7, 4, 1, linear),
    )
    return Network(layers, get_loss("cross_entropy"), 4)


@every_seed
@pytest.mark.parametrize("rule", ["backprop", "z-il"])
def test_exact_rules_stay_exact(rule: str, seed: int) -> None:
    net = truncated()
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    found = run_rule(rule, net, params, batch).grads
    assert worst(found, autograd_grads(net, params, batch)) <= 1e-12


REFUSING = {"consequentialism", "gaitprop", "itp", "targetprop", "targetprop-exact"}


@pytest.mark.parametrize("rule", registry.names("rule"))
def test_every_rule_trains_it_or_says_why_not(rule: str) -> None:
    loaded, net = registry.load("rule", rule), truncated()
    reason = loaded.configured().supports(net)
    assert reason is not None or rule not in REFUSING
    assert reason is None or len(reason) > 10
    if reason is None:
        for check in (shapes, reach, purity, vmap):
            check.on(Case(loaded, "truncated", net))


FILE = """
name = "truncated"
dataset = "digits"
loss = "cross_entropy"
batch_size = 50
epochs = 1
optimizer = { name = "adam", lr = 1e-3 }
[network]
"""


def task(tmp_path: Path, network: str) -> Network:
    path = tmp_path / "truncated.toml"
    path.write_text(FILE + network)
    return read_task(str(path)).build_network()


def test_task_files_have_them(tmp_path: Path) -> None:
    net = task(
        tmp_path,
        "layers = [{ type = 'truncate', k = 4, window = true }, { units = 20, truncate = 8 }, "
        "{ type = 'truncate', k = 2 }, { units = 10 }]",
    )
    assert net.layers == (
        Truncate((64,), 4, True),
        TruncatedDense(64, 20, 8),
        Truncate((20,), 2),
        Dense(20, 10),
    )
    graph = task(
        tmp_path,
        "nodes = [{ name = 'c', type = 'conv2d', channels = 2, kernel = 3 }, "
        "{ name = 't', type = 'truncate', k = 3 }, { name = 'f', type = 'flatten' }, "
        "{ name = 'o', units = 10, truncate = 3 }]",
    )
    assert [layer.kind for layer in graph.layers][1::2] == ["truncate", "truncated dense"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("{ type = 'truncate', k = 32 }, { units = 10 }", r"layer 1 \(truncate\): of 64 values"),
        ("{ units = 10, truncate = 40 }", r"layer 1 \(dense\): of 64 products .* fewer than 32"),
    ],
)
def test_nothing_left_is_refused(tmp_path: Path, layers: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(tmp_path, f"layers = [{layers}]")
