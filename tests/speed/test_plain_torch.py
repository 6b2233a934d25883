"""The plain loop that rules are compared with takes backprop's step."""

from __future__ import annotations

import pytest
import torch

from bioplaus.errors import UnsupportedError
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import State
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins.registry import load
from bioplaus.speed.plain_torch import eager_step, sequential
from tests.helpers.networks import make_convolutional, make_network, random_batch


@pytest.mark.parametrize(
    "net",
    [
        make_network((6, 6, 6), "leaky_relu(0.1)", "mse", classes=4),
        make_network((7, 6, 4), "tanh", "cross_entropy"),
        make_convolutional(),
    ],
    ids=["square", "rectangular", "convolutional"],
)
def test_the_eager_loop_takes_backprops_step_on_the_same_network(net: Network) -> None:
    torch.manual_seed(0)
    batch = random_batch(net, 8, 0)
    model = sequential(net).double()
    # torch registers parameters in the order of the layers, a weight and its bias
    names = list(net.init(Stream(0)))
    before = {n: p.detach().clone() for n, p in zip(names, model.parameters(), strict=True)}
    step = eager_step(net, OptimizerSpec(name="sgd", lr=1.0), batch.x, batch.y, model)
    step(torch.arange(8))
    expected = load("rule", "backprop").configured().update(net, before, State({}, {}), batch, {})
    for name, after in zip(names, model.parameters(), strict=True):
        moved = before[name] - after.detach()
        assert torch.allclose(moved, expected.grads[name], rtol=1e-10, atol=1e-12), name


def test_a_network_that_is_no_sequential_has_no_eager_loop() -> None:
    tower = make_network((8, 8, 6, 4), "leaky_relu(0.1)", "mse", kind="tower")
    with pytest.raises(UnsupportedError, match="layer 2"):
        sequential(tower)
