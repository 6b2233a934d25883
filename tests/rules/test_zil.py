"""Z-IL: predictive coding that equals backprop by its timing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from torch import Tensor

from bioplaus.network.activations import Activation
from bioplaus.network.layer import Init, Layer, Params, Residuals, Shape
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    make_convolutional,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)

LEAKY = "leaky_relu(0.1)"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", [LEAKY, "tanh", "sigmoid", "relu"])
@pytest.mark.parametrize("depth", [1, 2, 4, 6])
def test_t_pc_4_zil_is_backprop(depth: int, activation: str, loss: str, seed: int) -> None:
    net = make_network((14, 12, 10, 9, 8, 7, 5)[-depth - 1 :], activation, loss)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 8, seed)
    grads = run_rule("z-il", net, params, batch).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_pc_4_zil_is_backprop_in_a_tower(seed: int) -> None:
    net = make_network((12, 12, 8, 4), LEAKY, "mse", kind="tower")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    grads = run_rule("z-il", net, params, batch).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@dataclass(frozen=True)
class Pooled(Layer):
    """A layer and the parameter-free one above it as one node: f(pool(W h + b))."""

    below: Layer
    pool: Layer
    kind: ClassVar[str] = "pooled"

    @property
    def activation(self) -> Activation:  # type: ignore[override]
        return self.below.activation

    @property
    def in_shape(self) -> Shape:
        return self.below.in_shape

    @property
    def out_shape(self) -> Shape:
        return self.pool.out_shape

    def init(self, stream: Stream, init: Init) -> Params:
        return self.below.init(stream, init)

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        a, inner = self.below.forward(p, h)
        pooled, outer = self.pool.forward({}, a)
        return pooled, (inner, outer)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        inner, outer = residuals
        return self.below.adjoint(p, inner, self.pool.adjoint({}, outer, d))

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        inner, outer = residuals
        return self.below.weight_grad(inner, self.pool.adjoint({}, outer, d))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("merged", [False, True])
def test_t_pc_4_zil_is_backprop_in_a_convolutional_network(
    merged: bool, loss: str, seed: int
) -> None:
    net = replace(make_convolutional(), loss=get_loss(loss))
    if merged:
        first, pool, second, flatten, top = net.layers
        layers = (Pooled(first, pool), Pooled(second, flatten), top)
        net = Network(layers, net.loss, net.classes)
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    grads = run_rule("z-il", net, params, batch).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_pc_4_it_is_the_timing_that_makes_it_so(seed: int) -> None:
    net = make_network((10, 9, 8, 7, 5), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    untimed = run_rule("predictive-coding", net, params, batch, steps=3, step_size=1.0).grads
    expected = autograd_grads(net, params, batch)
    off = [rel(untimed[f"{l}.weight"], expected[f"{l}.weight"]) for l in range(1, 5)]
    assert off[0] <= EXACT  # t = L - 1 is the moment of layer 1, but not of the others
    assert min(off[1:]) > 0.01
