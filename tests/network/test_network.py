"""Networks: layers that fit, names of parameters, the forward pass and the weight gradients."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from bioplaus.errors import ConfigError
from bioplaus.network.layer import Dense
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import EXACT, every_seed, make_network, random_batch, rel


def test_a_network_needs_a_layer() -> None:
    with pytest.raises(ConfigError, match="at least one layer"):
        Network((), get_loss("mse"), 1)


def test_layers_must_fit_together() -> None:
    with pytest.raises(ConfigError, match=r"gives \(5,\), but the next reads \(6,\)"):
        Network((Dense(4, 5), Dense(6, 3)), get_loss("mse"), 3)


def test_output_units_must_tell_the_classes() -> None:
    with pytest.raises(ConfigError, match="3 output units cannot tell 4 classes"):
        Network((Dense(4, 3),), get_loss("mse"), 4)


def test_parts_are_found_by_layer_and_joined_again() -> None:
    net = make_network([3] * 13, "tanh", "mse")
    params = net.init(Stream(0))
    assert list(params) == [f"{l}.{k}" for l in range(1, 13) for k in ("weight", "bias")]
    parts = [net.at(params, l) for l in range(net.depth)]
    assert all(part.keys() == {"weight", "bias"} for part in parts)
    assert parts[0]["weight"] is params["1.weight"]
    assert net.join(parts) == params
    assert net.join(parts[4:], first=4) == {
        name: tensor for name, tensor in params.items() if int(name.split(".")[0]) > 4
    }


def test_layers_start_from_streams_of_their_own() -> None:
    deep = make_network([6] * 4, "tanh", "mse").init(Stream(0))
    shallow = make_network([6] * 3, "tanh", "mse").init(Stream(0))
    assert all(torch.equal(deep[name], tensor) for name, tensor in shallow.items())
    assert rel(deep["1.weight"], deep["2.weight"]) > 0.5


@every_seed
def test_forward_output_and_loss_agree(seed: int) -> None:
    net = make_network((7, 6, 5, 4), "tanh", "cross_entropy")
    params = net.init(Stream(seed))
    batch = random_batch(net, 5, seed)
    trace = net.forward(params, batch.x)
    assert len(trace) == net.depth == 3
    assert net.in_shape == (7,)
    for below, above in pairwise(trace):
        assert torch.equal(above.input, below.output)
    assert torch.equal(net.output(params, batch.x), trace[-1].output)
    loss = F.cross_entropy(trace[-1].output, batch.y.argmax(1))
    torch.testing.assert_close(net.mean_loss(params, *batch), loss, rtol=1e-14, atol=0)


@every_seed
def test_weight_grads_of_ones_is_the_mean_input(seed: int) -> None:
    net = make_network((7, 6, 4), "tanh", "mse")
    params, batch = net.init(Stream(seed)), random_batch(net, 5, seed)
    trace = net.forward(params, batch.x)
    grads = net.weight_grads(trace, [torch.ones_like(step.output) for step in trace])
    for l, step in enumerate(trace, start=1):
        assert rel(grads[f"{l}.bias"], torch.ones_like(grads[f"{l}.bias"])) <= EXACT
        assert (
            rel(grads[f"{l}.weight"], step.input.mean(0).expand_as(grads[f"{l}.weight"])) <= EXACT
        )
