"""Sign symmetry: backprop where the magnitudes are the weights', and how they are drawn."""

from __future__ import annotations

import pytest
import torch

from bioplaus.learning.batching import NoiseSource
from bioplaus.learning.rule import State
from bioplaus.numerics.random_streams import Stream
from tests.helpers.feedback import every_case, every_seed, upper_weights, xavier_deviation
from tests.helpers.networks import (
    EXACT,
    autograd_grads,
    get_rule,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)


@every_seed
@every_case
@pytest.mark.parametrize("magnitude", ["fixed", "batch"])
def test_t_sf_is_backprop_when_the_magnitudes_are_the_weights(
    magnitude: str, kind: str, widths: tuple[int, ...], activation: str, loss: str, seed: int
) -> None:
    net = make_network(widths, activation, loss, kind=kind)
    params = random_params(net, seed, scheme="gaussian")
    batch = random_batch(net, 8, seed)
    sizes = {name: w.abs() for name, w in upper_weights(params).items()}
    # the harness draws u, and |M| = b u with Xavier's bound b
    shares = {name: m / (3**0.5 * xavier_deviation(m)) for name, m in sizes.items()}
    rule = get_rule("sign-symmetry", magnitude=magnitude)
    drawn = rule.init_state(net, params, Stream(seed)).memory
    fixed = magnitude == "fixed"
    assert drawn.keys() == (sizes.keys() if fixed else set())
    state = State({}, sizes if fixed else {})
    update = rule.update(net, params, state, batch, {} if fixed else shares)
    assert worst(update.grads, autograd_grads(net, params, batch)) <= EXACT


@every_seed
@every_case
def test_t_sf_is_backprop_when_all_weights_have_the_uniform_magnitude(
    kind: str, widths: tuple[int, ...], activation: str, loss: str, seed: int
) -> None:
    net = make_network(widths, activation, loss, kind=kind)
    params = random_params(net, seed, scheme="gaussian")
    params |= {k: xavier_deviation(w) * w.sign() for k, w in upper_weights(params).items()}
    batch = random_batch(net, 8, seed)
    grads = run_rule("sign-symmetry", net, params, batch, seed).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@every_seed
@pytest.mark.parametrize("magnitude", ["uniform", "fixed", "batch"])
def test_a_weight_of_zero_has_no_feedback(magnitude: str, seed: int) -> None:
    net = make_network((9, 12, 5), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    silent = params["2.weight"].clone()
    silent[:, 3] = 0
    update = run_rule(
        "sign-symmetry", net, params | {"2.weight": silent}, batch, seed, magnitude=magnitude
    )
    learns = update.grads["1.weight"].any(1)
    assert not learns[3]
    assert learns.sum() == 11


@every_seed
def test_magnitudes_are_xaviers_and_fresh_for_every_batch_only_where_declared(seed: int) -> None:
    net = make_network((4, 300, 200), "tanh", "mse")
    params = random_params(net, seed)
    bound = (6 / 500) ** 0.5
    fixed = get_rule("sign-symmetry", magnitude="fixed")
    assert fixed.noise(net, 8) == {}
    size = fixed.init_state(net, params, Stream(seed)).memory["2.weight"]
    assert 0 <= size.min() <= size.max() <= bound
    # the mean of 60,000 uniform numbers, to four standard errors
    assert abs(float(size.mean()) / bound - 0.5) <= 4 / (12 * 60_000) ** 0.5
    fresh = get_rule("sign-symmetry", magnitude="batch")
    source = NoiseSource(fresh.noise(net, 8), [seed], torch.float64, torch.device("cpu"))
    first, second = source.at(0), source.at(1)
    assert {name: tuple(u.shape[1:]) for name, u in first.items()} == {"2.weight": (200, 300)}
    assert rel(first["2.weight"], second["2.weight"]) > 0.5
