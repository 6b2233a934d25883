"""Equilibrium propagation with backward weights of its own, against the authors' primitives.

For each layer of theirs phi_k = P(W_k s_{k-1}) . s_k + P'(B_{k+1} s_k) . s_{k+1}, whose gradient
at s_k moves it; learned by autograd of the same sums with the phases mixed as they mix them.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.learning.rule import Batch, State
from bioplaus.network.activations import SteepSigmoid
from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.pooling import Flatten, MaxPool2d
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import get_rule, random_batch, random_params, rel, run_rule

NAME = "equilibrium-propagation"
BETA, T1, T2 = 0.2, 12, 5
OPTIONS: dict[str, object] = {"beta": BETA, "free_steps": T1, "nudged_steps": T2}
SEEDS = range(3)
States = list[Tensor]


def network() -> Network:
    """Two convolutions, the second pooled, and a dense layer."""
    first = Conv2d((2, 6, 6), 3, 2, activation=SteepSigmoid())
    second = Conv2d(first.out_shape, 4, 2, activation=SteepSigmoid())
    pool = MaxPool2d(second.out_shape, 2)
    flat = Flatten(pool.out_shape)
    top = Dense(flat.out_shape[0], 4, SteepSigmoid())
    return Network((first, second, pool, flat, top), get_loss("mse"), 4)


def setting(seed: int) -> tuple[Params, Params, Batch]:
    net = network()
    params, other = (random_params(net, s, scheme="gaussian") for s in (seed, seed + 100))
    feedback = {name: other[name] for name in ("2.weight", "5.weight")}
    return params, feedback, random_batch(net, 6, seed)


def ways(p: Params, feedback: Params, x: Tensor, low: States, high: States) -> list[Tensor]:
    """P(W s_{k-1} + b) . s_k for k = 1, 2, 3, then P(B s_{k-1}) . s_k for k = 2, 3; (N,).

    s_{k-1} of `low` and s_k of `high`.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a.flatten(1) * b.flatten(1)).sum(1)

    def pooled(h: Tensor) -> Tensor:
        return F.max_pool2d(h, 2).flatten(1)

    return [
        dot(F.conv2d(x, p["1.weight"], p["1.bias"]), high[0]),
        dot(pooled(F.conv2d(low[0], p["2.weight"], p["2.bias"])), high[1]),
        dot(low[1] @ p["5.weight"].T + p["5.bias"], high[2]),
        dot(pooled(F.conv2d(low[0], feedback["2.weight"])), high[1]),
        dot(low[1] @ feedback["5.weight"].T, high[2]),
    ]


def relaxed(p: Params, b: Params, batch: Batch, states: States, steps: int, beta: float) -> States:
    """Each state moved by the gradient of what drives it: W below it, B above it."""
    for _ in range(steps):
        s = [t.detach().requires_grad_() for t in states]
        w1, w2, w3, b2, b3 = ways(p, b, batch.x, s, s)
        cost = 0.5 * (s[2] - batch.y).square().sum(1)
        phis = w1 + b2, w2 + b3, w3 - beta * cost
        slopes = [
            torch.autograd.grad(phi.sum(), v, retain_graph=True)[0]
            for phi, v in zip(phis, s, strict=True)
        ]
        states = [1 / (1 + torch.exp(-4 * (a - 0.5))) for a in slopes]
    return [t.detach() for t in states]


def expected(seed: int, same: bool) -> tuple[Params, Params]:
    """Their update of W and of B: -(phi(+) - phi(-)) / (2 beta), the phases as they take them."""
    params, feedback, batch = setting(seed)
    zero = [batch.x.new_zeros(6, 3, 5, 5), batch.x.new_zeros(6, 16), batch.x.new_zeros(6, 4)]
    free = relaxed(params, feedback, batch, zero, T1, 0.0)
    ends = [relaxed(params, feedback, batch, free, T2, beta) for beta in (BETA, -BETA)]
    p, b = ({n: t.clone().requires_grad_() for n, t in ts.items()} for ts in (params, feedback))
    if same:
        phis = [torch.stack(ways(p, b, batch.x, s, s)).sum(0).mean() for s in ends]
    else:
        # upwards from the free state to the nudged one, downwards the other way round
        phis = [
            torch.stack(ways(p, b, batch.x, free, s)[:3] + ways(p, b, batch.x, s, free)[3:])
            .sum(0)
            .mean()
            for s in ends
        ]
    leaves = p | {f"B{name}": t for name, t in b.items()}
    found = torch.autograd.grad((phis[1] - phis[0]) / (2 * BETA), list(leaves.values()))
    grads = dict(zip(leaves, found, strict=True))
    forward, backward = {n: grads[n] for n in p}, {n: grads[f"B{n}"] for n in b}
    if same:
        mean = {n: (forward[n] + backward[n]) / 2 for n in b}
        return forward | mean, mean
    return forward, backward


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("feedback", ["common", "own"])
def test_backward_weights_pool_where_they_say_and_learn_as_the_authors_do(
    feedback: str, seed: int
) -> None:
    params, backward, batch = setting(seed)
    update = run_rule(
        NAME, network(), params, batch, state=State(backward, {}), feedback=feedback, **OPTIONS
    )
    forward, back = expected(seed, same=feedback == "common")
    assert update.grads.keys() == forward.keys() and update.aux_grads.keys() == back.keys()
    assert max(rel(update.grads[n], g) for n, g in forward.items()) <= 1e-11
    assert max(rel(update.aux_grads[n], g) for n, g in back.items()) <= 1e-11


@pytest.mark.parametrize("seed", SEEDS)
def test_the_two_ways_of_pooling_differ(seed: int) -> None:
    """Else the test above would not tell them apart."""
    params, backward, batch = setting(seed)
    low = relaxed(
        params, backward, batch,
        [batch.x.new_zeros(6, 3, 5, 5), batch.x.new_zeros(6, 16), batch.x.new_zeros(6, 4)], T1, 0.0,
    )[0]  # fmt: skip
    _, ours = F.max_pool2d(F.conv2d(low, params["2.weight"]), 2, return_indices=True)
    _, theirs = F.max_pool2d(F.conv2d(low, backward["2.weight"]), 2, return_indices=True)
    assert (ours != theirs).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_residual_is_relative_and_shrinks_with_the_steps(seed: int) -> None:
    params, _, batch = setting(seed)
    net = network()
    found = [
        run_rule(NAME, net, params, batch, free_steps=steps, nudged_steps=1).metrics["residual"]
        for steps in (1, 5, 200)
    ]
    assert 1 >= found[0] > found[1] > found[2]
    rule = get_rule(NAME, free_steps=1, nudged_steps=1)
    states = relaxed(params, {n: params[n] for n in ("2.weight", "5.weight")}, batch,
                     [batch.x.new_zeros(6, 3, 5, 5), batch.x.new_zeros(6, 16),
                      batch.x.new_zeros(6, 4)], 1, 0.0)  # fmt: skip
    moved = relaxed(params, {n: params[n] for n in ("2.weight", "5.weight")}, batch, states, 1, 0.0)
    apart, here, there = (
        torch.cat([v.flatten() for v in vs]).norm()
        for vs in ([a - b for a, b in zip(states, moved, strict=True)], states, moved)
    )
    metric = rule.update(net, params, rule.init_state(net, params, Stream(0)), batch, {}).metrics
    assert rel(metric["residual"], apart / max(here, there)) <= 1e-12
