"""Weight mirrors at an operating point: relus whose biases are far below 0 are mirrored too."""

from __future__ import annotations

import pytest
import torch

from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.feedback import every_seed, upper_weights
from tests.helpers.networks import (
    EXACT,
    get_rule,
    make_convolutional,
    make_network,
    noise_for,
    random_batch,
    random_params,
    worst,
)


def setting(seed: int) -> tuple[Network, Params]:
    """Biases of -0.3, out of reach of noise within 0.05 times these weights."""
    net = make_network((9, 12, 7, 4), "relu", "cross_entropy")
    params = random_params(net, seed)
    return net, {n: 0 * t - 0.3 if n.endswith("bias") else t for n, t in params.items()}


@every_seed
@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.1)", "tanh", "sigmoid"])
def test_noise_in_pairs_shows_the_transpose_whatever_the_biases(activation: str, seed: int) -> None:
    """f(a) - f(-a) is what pairs of xi and -xi see: (1 + slope) a for the piecewise linear."""
    net = make_network((9, 12, 7), activation, "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    half = Stream(seed).at("half").uniform((20, 12))
    rule = get_rule("weight-mirror", mirror_batch=40, mirror_decay=0.0, mirror_rate=1.0)
    zero = State({}, {"2.weight": torch.zeros_like(params["2.weight"])})
    update = rule.update(net, params, zero, batch, {"2": torch.cat([half, 1 - half])})
    xi = 0.05 * (2 * half - 1)
    a = xi @ params["2.weight"].T
    f = net.layers[1].activation
    expected = (f(a) - f(-a)).T @ xi / 40
    assert worst(update.memory, {"2.weight": expected}) <= EXACT
    if "relu" in activation:
        slope = 0.1 if "leaky" in activation else 0.0
        pairs = (1 + slope) / 2 * params["2.weight"] @ (xi.T @ xi) / 20
        assert worst(update.memory, {"2.weight": pairs}) <= EXACT


@every_seed
def test_relus_below_the_noise_are_silent_at_their_biases_alone(seed: int) -> None:
    net, params = setting(seed)
    batch, share = random_batch(net, 8, seed), {}
    for point in ("zero", "bias"):
        rule = get_rule("weight-mirror", mirror_at=point)
        state = rule.init_state(net, params, Stream(seed))
        for step in range(3):
            noise = noise_for(rule, net, batch, step)
            update = rule.update(net, params, state, batch, noise)
            state = State({}, update.memory)
        share[point] = float(update.metrics["silent_units"])
    assert share == {"zero": 0.0, "bias": 1.0}


def test_the_mirror_meets_the_transpose_where_biases_would_silence_it() -> None:
    """In some hundred steps; at their biases the feedback of the relus only decays."""
    net, params = setting(0)
    batch = random_batch(net, 2, 0)
    found = {}
    for point in ("zero", "bias"):
        rule = get_rule("weight-mirror", mirror_at=point, mirror_rate=25.6, mirror_decay=2e-2)
        state = rule.init_state(net, params, Stream(0))
        start = state.memory["2.weight"].norm()
        for step in range(200):
            noise = noise_for(rule, net, batch, step)
            state = State({}, rule.update(net, params, state, batch, noise).memory)
        cosines = {
            name: torch.cosine_similarity(w.flatten(), state.memory[name].flatten(), 0)
            for name, w in upper_weights(params).items()
        }
        found[point] = float(min(cosines.values())), float(state.memory["2.weight"].norm() / start)
    assert found["zero"][0] > 0.95
    assert found["bias"][1] == pytest.approx(0.98**200, rel=1e-6)


def test_a_mirrored_convolution_counts_its_silent_channels() -> None:
    net = make_convolutional("relu", "cross_entropy")
    params, batch = random_params(net, 0), random_batch(net, 4, 0)
    params["3.bias"] = torch.tensor([-0.9, 0.9, -0.9, 0.9], dtype=torch.float64)
    rule = get_rule("weight-mirror", mirror_at="bias")
    state = rule.init_state(net, params, Stream(0))
    update = rule.update(net, params, state, batch, noise_for(rule, net, batch))
    assert float(update.metrics["silent_units"]) == 0.5
