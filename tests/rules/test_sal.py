"""Spike-based alignment learning: against the Markov chain of one pair, and in networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from bioplaus.learning.batching import stack
from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron
from bioplaus.numerics.random_streams import Stream
from bioplaus.rules.sal import Sal
from bioplaus.rules.spiking_copy import SpikingCopies
from tests.helpers.networks import (
    draw,
    every_seed,
    get_rule,
    make_convolutional,
    make_network,
    random_batch,
    random_params,
    run_rule,
)
from tests.helpers.spiking import image_batch, lively_params, spiking_network

TAU = 10
WINDOW = 2 * TAU
SHORT = {"phase_steps": 40, "copies": 4}


def transitions(w: float, b: float, low: float, high: float) -> Tensor:
    """Of a pair of units, on the ages of their last spikes, min(steps since, tau) each."""
    size = TAU + 1
    chain = torch.zeros(size, size, size, size, dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            drives = low + b * (j < TAU), high + w * (i < TAU)
            fire_low, fire_high = (
                1 / (1 + math.exp(math.log(TAU) - u)) if age == TAU else 0.0
                for u, age in zip(drives, (i, j), strict=True)
            )
            for spike_low, p in ((True, fire_low), (False, 1 - fire_low)):
                for spike_high, q in ((True, fire_high), (False, 1 - fire_high)):
                    to = 0 if spike_low else min(i + 1, TAU), 0 if spike_high else min(j + 1, TAU)
                    chain[i, j, to[0], to[1]] += p * q
    return chain.reshape(size**2, size**2)


def drift(w: float, b: float, low: float, high: float) -> float:
    """The mean change of b in one step, in the stationary chain."""
    chain = transitions(w, b, low, high)
    n = len(chain)
    system = torch.cat([chain.T - torch.eye(n).double(), torch.ones(1, n).double()])
    right = torch.zeros(n + 1).double()
    right[-1] = 1
    stationary = torch.linalg.lstsq(system, right[:, None], driver="gelsd").solution[:, 0]
    ages = stationary.reshape(TAU + 1, TAU + 1)
    after_low, after_high = torch.zeros_like(ages), torch.zeros_like(ages)
    after_low[0], after_high[:, 0] = ages[0], ages[:, 0]
    total = 0.0
    for k in range(1, WINDOW):
        after_low, after_high = (
            (a.flatten() @ chain).reshape(ages.shape) for a in (after_low, after_high)
        )
        difference = float(after_low[:, 0].sum() - after_high[0].sum())
        total += math.exp(-k / TAU) * difference
    return total / WINDOW


@every_seed
def test_the_drift_is_nothing_at_the_mirrored_weight_and_towards_it_elsewhere(seed: int) -> None:
    w, b, low, high = draw(seed, "pair", 4).tolist()
    assert abs(drift(w, w, low, high)) <= 1e-15
    assert abs(drift(w, b, low, high) + drift(b, w, high, low)) <= 1e-15
    assert drift(w, b, low, high) * (w - b) > 0
    assert 1e-5 < drift(w, b, low, high) / (w - b) < 1e-3


POINTS = [(1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.5, -0.5, 0.0, 0.0)]
POINTS += [(-1.0, -1.0, 0.0, 0.0), (1.0, 1.0, -1.0, 1.0)]


@every_seed
def test_simulated_pairs_drift_as_the_chain_does(seed: int) -> None:
    """4,000 pairs at each of five points, in 25 groups, after 200 steps on their way."""
    groups, steps = 25, 1000
    w, b, low, high = torch.tensor(POINTS, dtype=torch.float64).repeat_interleave(groups, 0).T
    streams = [Stream(seed).at("pairs", k) for k in range(len(w))]
    pairs = SpikingCopies([w[:, None, None]], [low[:, None], high[:, None]], 160, TAU, streams)
    pairs.run([b[:, None, None]], 200)
    (change,) = pairs.run([b[:, None, None]], steps)
    for point, found in zip(POINTS, change.reshape(-1, groups) / steps, strict=True):
        z = (found.mean() - drift(*point)) / (found.std() / groups**0.5)
        assert abs(float(z)) < 4.5


def cosines(a: Tensor, b: Tensor) -> Tensor:
    return cosine_similarity(a.flatten(1), b.flatten(1), dim=1)


def test_layers_align_and_stay_aligned() -> None:
    """20-20, ten seeds at once: thirty phases from random feedback, ten from the mirrored one."""
    w = torch.stack([draw(seed, "w", 20, 20) for seed in range(10)]) / 20**0.5
    random = torch.stack([draw(seed, "b", 20, 20) for seed in range(10)]) / 20**0.5
    none = torch.zeros(10, 20, dtype=torch.float64)
    for b, phases, least in ((random, 30, 0.93), (w, 10, 0.99)):
        streams = [Stream(seed).at("phases") for seed in range(10)]
        copies = SpikingCopies([w], [none, none], 32, TAU, streams)
        for _ in range(phases):
            b = b + 0.2 * copies.run([b], 1000)[0]
        assert float(cosines(b, w).min()) > least


def given(net: Network, seed: int) -> tuple[Params, State, Batch]:
    params = random_params(net, seed)
    rule = get_rule("sal", **SHORT)
    return params, rule.init_state(net, params, Stream(seed)), random_batch(net, 3, seed)


@every_seed
def test_many_replicas_are_refreshed_as_each_alone(seed: int) -> None:
    net = make_network((7, 6, 5, 4), "tanh", "cross_entropy")
    rule = get_rule("sal", **SHORT)
    parts = [given(net, 3 * seed + k) for k in range(3)]
    streams = [Stream(3 * seed + k).at("refresh") for k in range(3)]
    params, memory = (stack([p[0] for p in parts]), stack([p[1].memory for p in parts]))
    together = rule.refresh_all(net, params, State({}, memory), parts[0][2], streams)
    assert together is not None
    for k, (own, state, batch) in enumerate(parts):
        alone = rule.refresh(net, own, state, batch, streams[k]).memory
        assert alone.keys() == together.memory.keys() == {"2.weight", "3.weight"}
        for name, tensor in alone.items():
            assert float((tensor - together.memory[name][k]).abs().max()) <= 1e-12
            assert not tensor.equal(state.memory[name])


@every_seed
def test_between_phases_it_is_feedback_alignment(seed: int) -> None:
    nets = [
        make_network((7, 6, 5, 4), "tanh", "cross_entropy"),
        spiking_network((7, 9, 6, 4), Neuron(0.8), 6),
    ]
    for net in nets:
        params, state, batch = given(net, seed)
        if net.bottom:
            params, batch = lively_params(net, seed), image_batch(net, 3, seed)
        ours = run_rule("sal", net, params, batch, state=state, **SHORT).grads
        theirs = run_rule("feedback-alignment", net, params, batch, state=state).grads
        assert all(ours[name].equal(grad) for name, grad in theirs.items())


def test_the_bias_of_a_layer_is_its_units_drive() -> None:
    """Units that are held down do not fire, and feedback to and from them does not learn."""
    net = make_network((7, 6, 5, 4), "tanh", "cross_entropy")
    rule = get_rule("sal", **SHORT)
    for held, still in (("1.bias", {"2.weight"}), ("2.bias", {"2.weight", "3.weight"})):
        params, state, batch = given(net, 0)
        params = params | {held: torch.full_like(params[held], -100.0)}
        after = rule.refresh(net, params, state, batch, Stream(0)).memory
        assert {name for name, b in after.items() if b.equal(state.memory[name])} == still


def test_convolutions_keep_their_feedback() -> None:
    from bioplaus.network.conv import Conv2d
    from bioplaus.network.layer import Dense
    from bioplaus.network.losses import get_loss
    from bioplaus.network.pooling import Flatten

    layers = Conv2d((1, 4, 4), 2, 3), Conv2d((2, 2, 2), 3, 2), Flatten((3, 1, 1)), Dense(3, 4)
    net = Network((*layers, Dense(4, 4)), get_loss("mse"), 4)
    params, state, batch = given(net, 0)
    after = get_rule("sal", **SHORT).refresh(net, params, state, batch, Stream(0)).memory
    assert after.keys() == {"2.weight", "4.weight", "5.weight"}
    assert after["2.weight"].equal(state.memory["2.weight"])
    assert not after["4.weight"].equal(state.memory["4.weight"])


def test_networks_and_options() -> None:
    rule = get_rule("sal")
    assert isinstance(rule, Sal) and rule.refresh_every == 78
    assert get_rule("sal", refresh_every=7).refresh_every == 7
    assert rule.supports(make_convolutional()) is None
    assert "no dense layer" in (rule.supports(make_network((5, 4))) or "")
