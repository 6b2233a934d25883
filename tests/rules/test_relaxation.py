"""The relaxation kernel: its targets, its two orders, and the rules' diagnostics."""

from __future__ import annotations

from math import comb, fsum

import pytest
import torch
from torch import Tensor

from bioplaus.experiments.experiment import plan
from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.numerics.random_streams import Stream
from bioplaus.rules.relaxation import energy_target, predictions, sweep
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    autograd_grads,
    forward_pass,
    get_rule,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    single_examples,
    worst,
)

LEAKY = "leaky_relu(0.1)"
WIDTHS = (9, 12, 10, 8, 7, 4)
CASES = [(LEAKY, "mse"), (LEAKY, "cross_entropy"), ("tanh", "mse"), ("tanh", "cross_entropy")]


def tail(k: int, n: int, eta: float) -> float:
    """P[Binomial(n, eta) >= k]."""
    return fsum(comb(n, j) * eta**j * (1 - eta) ** (n - j) for j in range(k, n + 1))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("activation", "loss"), CASES)
def test_t_pc_1_one_top_down_sweep_of_size_1_is_backprop(
    activation: str, loss: str, seed: int
) -> None:
    net = make_network(WIDTHS, activation, loss)
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 8, seed)
    options = {"steps": 1, "step_size": 1.0, "order": "top-down"}
    grads = run_rule("predictive-coding-fixed", net, params, batch, **options).grads
    assert worst(grads, autograd_grads(net, params, batch)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("steps", "eta"), [(1, 0.3), (3, 0.1), (5, 0.7), (20, 0.2), (40, 0.05)])
@pytest.mark.parametrize(("activation", "loss"), CASES)
def test_t_pc_2_top_down_sweeps_have_a_longer_binomial_tail(
    activation: str, loss: str, steps: int, eta: float, seed: int
) -> None:
    net = make_network(WIDTHS, activation, loss)
    params = random_params(net, seed, scheme="gaussian")
    (batch,) = single_examples(random_batch(net, 1, seed))
    options = {"steps": steps, "step_size": eta, "order": "top-down"}
    grads = run_rule("predictive-coding-fixed", net, params, batch, **options).grads
    expected = autograd_grads(net, params, batch)
    for l, step in enumerate(net.forward(params, batch.x), start=1):
        k = net.depth - l
        q, e = (g[f"{l}.bias"] / step.slope[0] for g in (grads, expected))
        assert rel(q, tail(k, steps + k - 1, eta) * e) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", ["jacobi", "top-down"])
def test_predictive_coding_fixed_is_a_preset_of_predictive_coding(order: str, seed: int) -> None:
    net = make_network(WIDTHS, "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    preset = run_rule("predictive-coding-fixed", net, params, batch, order=order)
    base = run_rule("predictive-coding", net, params, batch, fixed_prediction=True, order=order)
    assert all(torch.equal(preset.grads[name], grad) for name, grad in base.grads.items())
    assert type(get_rule("predictive-coding-fixed")).preset_of == "predictive-coding"


def energy(fwd: ForwardPass, mus: list[Tensor]) -> Tensor:
    """E summed over the examples, in the rule's notation, for autograd."""
    below, total = fwd.batch.x, torch.zeros((), dtype=torch.float64)
    for l, (layer, mu) in enumerate(zip(fwd.net.layers, mus, strict=False), start=1):
        weight, bias = fwd.params[f"{l}.weight"], fwd.params[f"{l}.bias"]
        prediction = layer.activation(below @ weight.T + bias)
        if l == len(mus):
            return total + len(below) * fwd.net.loss.value(prediction, mu)
        total = total + 0.5 * (mu - prediction).square().sum()
        below = mu
    raise AssertionError


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("activation", "loss"), CASES)
def test_energy_target_is_the_step_down_the_energy(activation: str, loss: str, seed: int) -> None:
    net = make_network(WIDTHS, activation, loss)
    params, batch = random_params(net, seed, scheme="gaussian"), random_batch(net, 3, seed)
    fwd = forward_pass(net, params, batch)
    stream = Stream(seed).at("mus")
    hidden = [
        (step.output + stream.at(l).normal(step.output.shape)).requires_grad_()
        for l, step in enumerate(fwd.trace[:-1])
    ]
    slopes = torch.autograd.grad(energy(fwd, [*hidden, batch.y]), hidden)
    mus = [*(mu.detach() for mu in hidden), batch.y]
    target = energy_target(fwd, predictions(fwd, mus))
    for l, slope in enumerate(slopes):
        assert rel(mus[l] - target(l, mus), slope) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", ["jacobi", "top-down"])
def test_the_residual_vanishes_at_rest(order: str, seed: int) -> None:
    # one hidden layer: the energy's Hessian I + W^T W has no eigenvalue below 1
    net = make_network((9, 8, 4), "identity", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    short, long = (
        run_rule("predictive-coding", net, params, batch, steps=steps, order=order).metrics
        for steps in (1, 300)
    )
    assert long["residual"] <= 1e-9 * short["residual"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("steps", "eta"), [(1, 0.3), (20, 0.1), (30, 0.5)])
def test_the_residual_is_what_the_errors_lack_of_those_above(
    steps: int, eta: float, seed: int
) -> None:
    """With fixed predictions, q_{L-k} is c_k of backprop's error: by hand, from the tails."""
    net = make_network(WIDTHS, "tanh", "mse")
    params, batch = random_params(net, seed), random_batch(net, 8, seed)
    found = run_rule("predictive-coding-fixed", net, params, batch, steps=steps, step_size=eta)
    error, squares = net.loss.error(net.output(params, batch.x), batch.y), []
    trace = net.forward(params, batch.x)
    for k, l in enumerate(range(net.depth - 1, 0, -1), start=1):
        error = (trace[l].slope * error) @ params[f"{l + 1}.weight"]
        shares = tail(k, steps, eta), tail(k - 1, steps, eta)
        sizes = (*shares, shares[1] - shares[0])
        squares.append([(share * error).square().sum() for share in sizes])
    here, there, apart = (float(sum(column)) ** 0.5 for column in zip(*squares, strict=True))
    expected = torch.tensor(apart / max(here, there), dtype=torch.float64)
    torch.testing.assert_close(found.metrics["residual"], expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    "rule", ["predictive-coding", "predictive-coding-fixed", "activation-relaxation",
             "relaxed-predictive-coding"],
)  # fmt: skip
def test_every_relaxation_says_how_far_from_rest_it_stopped(rule: str) -> None:
    net = make_network((9, 8, 7, 4), "tanh", "mse")
    params, batch = random_params(net, 0), random_batch(net, 8, 0)
    early, late = (
        float(run_rule(rule, net, params, batch, steps=n, step_size=0.3).metrics["residual"])
        for n in (1, 60)
    )
    assert late < 1e-3 < 0.1 < early


@pytest.mark.parametrize("seed", SEEDS)
def test_the_energy_reported_is_the_relaxed_one(seed: int) -> None:
    net = make_network((8, 6, 5), "identity", "mse")
    params, batch = random_params(net, seed), random_batch(net, 6, seed)
    w = params["2.weight"]
    h = net.output(params, batch.x)
    s = torch.eye(5, dtype=torch.float64) + w @ w.T
    r = batch.y - h
    at_rest = 0.5 * (r * torch.linalg.solve(s, r.T).T).sum(1).mean()
    metrics = run_rule("predictive-coding", net, params, batch, steps=400).metrics
    torch.testing.assert_close(metrics["energy"], at_rest, rtol=1e-12, atol=0)


def test_sweeps_leave_their_inputs_and_the_clamped_node_alone() -> None:
    nodes = [torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([[4.0]])]
    for order, lowest in (("jacobi", 2.0), ("top-down", 4.0)):
        moved = sweep(nodes, lambda l, v: v[l + 1], 1.0, order)  # type: ignore[arg-type]
        assert [float(v) for v in moved] == [lowest, 4.0, 4.0]
        assert moved[-1] is nodes[-1]
    assert [float(v) for v in nodes] == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("rule", ["predictive-coding", "relaxed-predictive-coding", "z-il"])
def test_a_single_layer_has_nothing_to_relax(rule: str) -> None:
    net = make_network((6, 4), "tanh", "mse")
    params, batch = random_params(net, 0), random_batch(net, 5, 0)
    update = run_rule(rule, net, params, batch)
    assert worst(update.grads, autograd_grads(net, params, batch)) <= EXACT
    assert float(update.metrics.get("residual", 0)) == 0


@pytest.mark.parametrize(("task", "lr"), [("digits-square", 0.064), ("digits-mlp", 0.032)])
def test_a_recommended_optimizer_may_depend_on_the_loss(task: str, lr: float) -> None:
    (experiment,) = plan(["activation-relaxation"], task)
    assert (experiment.optimizer.name, experiment.optimizer.lr) == ("sgd", lr)
