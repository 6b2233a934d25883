"""Weight mirrors: what noise teaches the feedback weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.feedback import every_seed, upper_weights
from tests.helpers.networks import (
    EXACT,
    get_rule,
    make_network,
    noise_for,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)


def whitened(seed: int, l: int, count: int, width: int, s: float) -> Tensor:
    """count patterns with a mean of exactly 0 and a covariance of s^2 I."""
    drawn = Stream(seed).at("patterns", l).normal((count, width))
    q, _ = torch.linalg.qr(drawn - drawn.mean(0))
    return s * count**0.5 * q


def mirrored(
    net: Network, params: Params, patterns: Callable[[int, int], Tensor], **options: object
) -> Params:
    """Feedback that starts from 0, after one step of mirroring those patterns (layer, width)."""
    half_width = 0.05
    xi = {l: patterns(l, net.layers[l - 1].in_shape[0]) for l in range(2, net.depth + 1)}
    noise = {str(l): (pattern / half_width + 1) / 2 for l, pattern in xi.items()}
    settings = {"mirror_noise": half_width, "mirror_batch": len(xi[2]), "mirror_decay": 0.0}
    rule = get_rule("weight-mirror", **settings, **options)
    specs = rule.noise(net, 8)
    assert {name: spec.shape for name, spec in specs.items()} == {
        name: u.shape for name, u in noise.items()
    }
    zero = {name: torch.zeros_like(w) for name, w in upper_weights(params).items()}
    return rule.update(net, params, State({}, zero), random_batch(net, 8, 0), noise).memory


@every_seed
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("kind", ["dense", "tower"])
def test_t_wm_1_a_linear_layer_is_mirrored_exactly_by_zero_mean_whitened_noise(
    kind: str, centre: bool, seed: int
) -> None:
    s, rate = 0.03, 1.28
    net = make_network((12, 12, 8, 4), "identity", "mse", kind=kind)
    params = random_params(net, seed, scheme="gaussian")
    found = mirrored(
        net, params, lambda l, n: whitened(seed, l, 40, n, s), centre=centre, mirror_rate=rate
    )
    expected = {name: rate * s**2 * w for name, w in upper_weights(params).items()}
    assert worst(found, expected) <= EXACT


@every_seed
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize(("s", "tolerance"), [(0.1, 1e-2), (0.01, 1e-4), (0.001, 1e-6)])
def test_t_wm_2_a_sigmoid_layer_is_mirrored_times_its_slope(
    s: float, tolerance: float, centre: bool, seed: int
) -> None:
    net = make_network((12, 12, 8, 4), "sigmoid", "mse")
    params = random_params(net, seed, scheme="gaussian")

    def antithetic(l: int, n: int) -> Tensor:
        half = whitened(seed, l, 40, n, s)
        return torch.cat([half, -half])

    found = mirrored(net, params, antithetic, centre=centre, mirror_rate=1.0, mirror_at="bias")
    for name, w in upper_weights(params).items():
        response = torch.sigmoid(params[name.replace("weight", "bias")])
        slope = response * (1 - response)
        assert rel(found[name], s**2 * slope[:, None] * w) <= tolerance


@every_seed
def test_the_mirror_decays_and_serves_from_the_next_step_on(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    options = {"mirror_decay": 0.25, "mirror_rate": 2.0, "mirror_batch": 16, "mirror_at": "bias"}
    rule = get_rule("weight-mirror", **options)
    state = rule.init_state(net, params, Stream(seed))
    noise = noise_for(rule, net, batch, seed)
    update = rule.update(net, params, state, batch, noise)
    for l in (2, 3):
        xi = 0.05 * (2 * noise[str(l)] - 1)
        a = xi @ params[f"{l}.weight"].T + params[f"{l}.bias"]
        z = a if l == 3 else torch.tanh(a)
        signal = (z - z.mean(0)).T @ xi / 16
        expected = 0.75 * state.memory[f"{l}.weight"] + 2.0 * signal
        assert rel(update.memory[f"{l}.weight"], expected) <= EXACT
    fixed = run_rule("feedback-alignment", net, params, batch, state=state).grads
    assert worst(update.grads, fixed) <= EXACT


@every_seed
def test_by_default_decay_and_mirror_balance_where_the_feedback_is_the_transpose(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "identity", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    half_width, rate, decay = 0.05, 1.28, 1e-3
    deviation = half_width / 3**0.5
    rule = get_rule("weight-mirror")
    noise = {
        str(l): (whitened(seed, l, 128, n, deviation) / half_width + 1) / 2
        for l, n in ((2, 12), (3, 7))
    }
    mirror = upper_weights(params)
    memory = rule.update(net, params, State({}, mirror), batch, noise).memory
    factor = 1 - decay + rate * deviation**2
    assert abs(factor - 1) <= 1e-4
    assert worst(memory, {name: factor * w for name, w in mirror.items()}) <= EXACT
