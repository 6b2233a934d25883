"""Node and weight perturbation: by hand, and the gradient as their mean over the noise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Params
from bioplaus.network.losses import Loss, get_loss
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    get_rule,
    make_convolutional,
    make_network,
    random_batch,
    random_params,
    rel,
    worst,
)

NODE, WEIGHT = "node-perturbation", "weight-perturbation"


def drawn(name: str, net: Network, size: int, seed: int, **options: object) -> Params:
    """Noise as the rule asks for it."""
    specs = get_rule(name, **options).noise(net, size)
    return {k: Stream(seed).at("noise", k).normal(spec.shape) for k, spec in specs.items()}


def update(
    name: str, net: Network, params: Params, batch: Batch, noise: Params, **options: object
) -> Params:
    return get_rule(name, **options).update(net, params, State({}, {}), batch, noise).grads


@pytest.mark.parametrize("seed", SEEDS)
def test_node_perturbation_by_hand(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    noise = drawn(NODE, net, 8, seed)

    def ascend(x: Tensor, xi: list[Tensor]) -> list[Tensor]:
        h = [x]
        for l in (1, 2, 3):
            a = params[f"{l}.weight"] @ h[-1] + params[f"{l}.bias"] + xi[l - 1]
            h.append(a if l == 3 else torch.tanh(a))
        return h

    expected = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
    for i, (x, y) in enumerate(zip(batch.x, batch.y, strict=True)):
        xi = [noise[str(l)][i] for l in (1, 2, 3)]
        clean, noisy = ascend(x, [0 * v for v in xi]), ascend(x, [0.05 * v for v in xi])
        reward = -(y * (noisy[3].log_softmax(0) - clean[3].log_softmax(0))).sum()
        for l in (1, 2, 3):
            d = reward / 0.05 * xi[l - 1]
            expected[f"{l}.weight"] += torch.outer(d, clean[l - 1]) / 8
            expected[f"{l}.bias"] += d / 8
    grads = update(NODE, net, params, batch, noise, sigma=0.05)
    assert worst(grads, expected) <= 10 * EXACT


def mean_over_noise(
    name: str, net: Network, params: Params, batch: Batch, draws: int, **options: object
) -> tuple[Tensor, Tensor]:
    """Mean update over draws of the noise, as one vector, and its standard error."""
    specs = get_rule(name, **options).noise(net, len(batch.x))
    noise = {k: Stream(0).at("many", k).normal((draws, *s.shape)) for k, s in specs.items()}
    grads = vmap(lambda xi: update(name, net, params, batch, xi, **options))(noise)
    flat = torch.cat([g.flatten(1) for g in grads.values()], dim=1)
    return flat.mean(0), flat.std(0) / draws**0.5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (NODE, {"sigma": 1e-4}),
        (WEIGHT, {"sigma": 1e-4, "trials": 1}),
        (WEIGHT, {"sigma": 1e-4, "trials": 3}),
    ],
)
def test_the_mean_over_the_noise_is_the_gradient(name: str, options: dict[str, object]) -> None:
    net = make_convolutional("tanh")
    params, batch = random_params(net, 0), random_batch(net, 3, 0)
    mean, error = mean_over_noise(name, net, params, batch, 3000, **options)
    true = torch.cat([g.flatten() for g in autograd_grads(net, params, batch).values()])
    score = (mean - true) / error
    # of some 170 numbers: within five standard errors each, and of unit variance together
    assert float(score.abs().max()) < 5
    assert 0.7 < float(score.square().mean()) < 1.3
    assert rel(mean, true) < 0.5


def test_activity_based_perturbation_is_exact_in_the_mean_for_one_linear_layer() -> None:
    """n v v^T / ||v||^2 is the identity in the mean, whatever the noise's size."""
    net = make_network((5, 4), "identity", "mse")
    params, batch = random_params(net, 0), random_batch(net, 2, 0)
    mean, error = mean_over_noise(NODE, net, params, batch, 20000, form="activity", sigma=1e-4)
    true = torch.cat([g.flatten() for g in autograd_grads(net, params, batch).values()])
    assert float(((mean - true) / error).abs().max()) < 5
    assert rel(mean, true) < 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_activity_based_perturbation_by_hand(seed: int) -> None:
    net = make_network((6, 5, 3), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 1, seed)
    noise = drawn(NODE, net, 1, seed)
    a1 = batch.x @ params["1.weight"].T + params["1.bias"]
    a2 = torch.tanh(a1) @ params["2.weight"].T + params["2.bias"]
    n1 = a1 + 0.1 * noise["1"]
    n2 = torch.tanh(n1) @ params["2.weight"].T + params["2.bias"] + 0.1 * noise["2"]
    losses = [0.5 * (torch.tanh(a) - batch.y).square().sum() for a in (n2, a2)]
    size = (n1 - a1).square().sum() + (n2 - a2).square().sum()
    grads = update(NODE, net, params, batch, noise, form="activity", sigma=0.1)
    for name, v in (("1.bias", n1 - a1), ("2.bias", n2 - a2)):
        assert rel(grads[name], (8 * (losses[0] - losses[1]) * v / size)[0]) <= 10 * EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_decorrelation_by_hand(seed: int) -> None:
    """The network reads R h, and R loses a share of the off-diagonal correlations."""
    net = make_network((6, 5, 3), "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 7, seed)
    rule = get_rule(NODE, decorrelation=0.01)
    start = rule.init_state(net, params, Stream(seed)).memory
    assert all(torch.equal(r, torch.eye(len(r), dtype=r.dtype)) for r in start.values())
    mixing = {k: r + 0.1 * Stream(seed).at(k).normal(r.shape) for k, r in start.items()}
    noise = {k: 0 * v for k, v in drawn(NODE, net, 7, seed).items()}
    state = State({}, mixing)
    after = rule.update(net, params, state, batch, noise).memory
    x1 = batch.x @ mixing["1.decorrelation"].T
    x2 = torch.tanh(x1 @ params["1.weight"].T + params["1.bias"]) @ mixing["2.decorrelation"].T
    for l, x in ((1, x1), (2, x2)):
        r = mixing[f"{l}.decorrelation"]
        change = sum((torch.outer(row, row) - torch.diag(row**2)) @ r for row in x)
        assert rel(after[f"{l}.decorrelation"], r - 0.01 * change / 7) <= EXACT
    output = torch.tanh(x2 @ params["2.weight"].T + params["2.bias"])
    assert rel(rule.predict(net, params, state, batch.x), output) <= EXACT
    value = rule.objective_at(net, params, state, batch, noise)
    assert value is not None
    assert rel(value, 0.5 * (output - batch.y).square().sum(1).mean()) <= EXACT


def test_decorrelation_decorrelates() -> None:
    net = make_network((6, 5, 3), "tanh", "mse")
    params, rule = random_params(net, 0), get_rule(NODE, decorrelation=0.05)
    mixed = Stream(0).at("mixing").normal((6, 6))
    batch = Batch(Stream(0).normal((400, 6)) @ mixed.T, torch.zeros(400, 3).double())
    state = rule.init_state(net, params, Stream(0))
    noise = drawn(NODE, net, 400, 0)

    def off_diagonal(r: Tensor) -> float:
        x = batch.x @ r.T
        c = x.T @ x / 400
        return float((c - torch.diag(c.diag())).norm() / c.diag().norm())

    before = off_diagonal(state.memory["1.decorrelation"])
    for _ in range(300):
        state = State({}, rule.update(net, params, state, batch, noise).memory)
    assert off_diagonal(state.memory["1.decorrelation"]) < 0.05 * before


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_the_loss_of_each_example_has_the_batchs_for_its_mean(loss: str) -> None:
    net = make_network((9, 12, 6), "tanh", loss, classes=4)
    params, batch = random_params(net, 0), random_batch(net, 8, 0)
    output = net.output(params, batch.x)
    each = net.loss.each(output, batch.y)
    assert each.shape == (8,)
    assert rel(each.mean(), net.loss.value(output, batch.y)) <= EXACT
    alone = [net.loss.value(h[None], y[None]) for h, y in zip(output, batch.y, strict=True)]
    assert rel(each, torch.stack(alone)) <= EXACT


def test_a_loss_that_says_nothing_of_each_example_is_asked_one_by_one() -> None:
    class Own(Loss):
        name = "own"

        def value(self, output: Tensor, targets: Tensor) -> Tensor:
            return (output - targets).abs().sum(-1).mean()

        def error(self, output: Tensor, targets: Tensor) -> Tensor:
            return (output - targets).sign()

    net = replace(make_network((9, 4), "tanh"), loss=Own())
    params, batch = random_params(net, 0), random_batch(net, 8, 0)
    output = net.output(params, batch.x)
    assert rel(net.loss.each(output, batch.y), (output - batch.y).abs().sum(1)) <= EXACT
    assert get_loss("mse").name == "mse"


def test_decorrelation_reads_vectors() -> None:
    reason = get_rule(NODE, decorrelation=0.01).supports(make_convolutional())
    assert "layer 1 reads images" in (reason or "")


def test_masks_of_dropout_are_no_parameters_to_learn() -> None:
    """What `params` holds beside the net's own is neither perturbed nor given a gradient."""
    net = make_network((6, 5, 3), "tanh", "mse")
    params, batch = random_params(net, 0), random_batch(net, 4, 0)
    rule, xi = get_rule(WEIGHT, sigma=1e-3), drawn(WEIGHT, net, 4, 0)
    more = params | {"1.mask": torch.ones(4, 5, dtype=torch.float64)}
    alone, beside = (rule.update(net, p, State({}, {}), batch, xi).grads for p in (params, more))
    assert alone.keys() == beside.keys() == params.keys()
    assert all(torch.equal(alone[name], beside[name]) for name in params)
