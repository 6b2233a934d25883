"""Equilibrium propagation against autograd through a hand-written relaxation.

All on the stated network: 20-16-12-10 logistic, parameters N(0, 0.1^2), x uniform, N = 8,
600 steps a phase. The ten seeds run stacked, once for each configuration.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from bioplaus.learning.batching import (
    batched_update,
    stack,
    unstack,
)
from bioplaus.learning.gradients import batched_objective_grad
from bioplaus.learning.prediction import batched_predict
from bioplaus.learning.rule import Batch, State, Update
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    forward_pass,
    get_rule,
    make_convolutional,
    make_network,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)

NAME = "equilibrium-propagation"
WIDTHS = (20, 16, 12, 10)
STEPS = 600


def network(activation: str = "sigmoid", loss: str = "mse") -> Network:
    return make_network(WIDTHS, activation, loss)


@cache
def seeded(seed: int) -> tuple[Params, Batch]:
    net, stream = network(), Stream(seed).at("equilibrium test")
    params = {
        name: 0.1 * stream.at(name).normal(t.shape) for name, t in net.init(Stream(seed)).items()
    }
    x = stream.at("x").uniform((8, WIDTHS[0]))
    return params, Batch(x, random_batch(net, 8, seed).y)


@cache
def updates(
    activation: str = "sigmoid",
    loss: str = "mse",
    dtype: torch.dtype = torch.float64,
    **options: object,
) -> Update:
    """The update of all seeds, stacked; backward weights, if any, are the transposes."""
    net = network(activation, loss)
    params, batches = zip(*map(seeded, SEEDS), strict=True)
    stacked = {name: t.to(dtype) for name, t in stack(params).items()}
    x, y = (torch.stack(t).to(dtype) for t in zip(*batches, strict=True))
    rule = get_rule(NAME, free_steps=STEPS, nudged_steps=STEPS, **options)
    state = rule.init_state(net, params[0], Stream(0))
    state = State(aux={name: stacked[name] for name in state.aux}, memory={})
    return batched_update(rule, net)(stacked, state, Batch(x, y), {})


def estimate(seed: int, **options: object) -> Params:
    return unstack(updates(**options).grads, seed)  # type: ignore[arg-type]


def free_step(net: Network, params: Params, x: Tensor, states: list[Tensor]) -> list[Tensor]:
    """s_l <- sigma(W_l s_{l-1} + b_l + W_{l+1}^T s_{l+1}), for as many states as are given."""
    moved, below = [], x
    for l, state in enumerate(states, start=1):
        total = below @ params[f"{l}.weight"].T + params[f"{l}.bias"]
        if l < len(states):
            total = total + states[l] @ params[f"{l + 1}.weight"]
        moved.append(net.layers[l - 1].activation(total))
        below = state
    return moved


def free_loss(net: Network, params: Params, batch: Batch, settled: list[Tensor]) -> Tensor:
    """The loss at the free equilibrium, unrolled from the equilibrium itself."""
    states = settled
    for _ in range(STEPS):
        states = free_step(net, params, batch.x, states)
    output = states[-1]
    if net.loss.name == "cross_entropy":
        output = output @ params[f"{net.depth}.weight"].T + params[f"{net.depth}.bias"]
        return torch.nn.functional.cross_entropy(output, batch.y.argmax(1))
    return 0.5 * (output - batch.y).square().sum(1).mean()


@cache
def truth(seed: int, activation: str = "sigmoid", loss: str = "mse") -> Params:
    """The gradient of the loss at the free equilibrium, by autograd."""
    net = network(activation, loss)
    params, batch = seeded(seed)
    count = net.depth - (loss == "cross_entropy")
    states = [batch.x.new_zeros(8, n) for n in WIDTHS[1 : count + 1]]
    for _ in range(STEPS):
        states = free_step(net, params, batch.x, states)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
    grads = torch.autograd.grad(free_loss(net, leaves, batch, states), list(leaves.values()))
    return dict(zip(leaves, grads, strict=True))


def errors(seed: int, **options: object) -> dict[str, float]:
    """Per tensor, the distance of the estimate from the truth."""
    true = truth(seed)
    return {name: rel(grad, true[name]) for name, grad in estimate(seed, **options).items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_t_ep_1_symmetric_bias_is_of_second_order(seed: int) -> None:
    for beta in (0.1, 0.05, 0.025):
        full, half = errors(seed, beta=beta), errors(seed, beta=beta / 2)
        assert all(3.9 <= full[name] / half[name] <= 4.1 for name in full)
    assert max(errors(seed, beta=1e-3).values()) <= 1e-5


@pytest.mark.parametrize("seed", SEEDS)
def test_t_ep_1_one_sided_bias_is_of_first_order(seed: int) -> None:
    for beta in (0.05, 0.025):
        full = errors(seed, beta=beta, nudging="one-sided")
        half = errors(seed, beta=beta / 2, nudging="one-sided")
        assert all(1.9 <= full[name] / half[name] <= 2.1 for name in full)


@pytest.mark.parametrize("seed", SEEDS)
def test_t_ep_1_hard_sigmoid(seed: int) -> None:
    ours = estimate(seed, activation="hard_sigmoid", beta=1e-4)
    assert worst(ours, truth(seed, activation="hard_sigmoid")) <= 1e-6


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", ["synchronous", "even-odd"])
def test_t_ep_2_the_free_phase_settles(order: str, seed: int) -> None:
    assert float(updates(beta=0.1, order=order).metrics["residual"][seed]) < 1e-14


@pytest.mark.parametrize("seed", SEEDS)
def test_t_ep_2_even_odd_updates_settle_where_synchronous_ones_oscillate(seed: int) -> None:
    """Two layers that silence each other: all on, then all off, if they move at once."""
    net = make_network((6, 4, 4), "sigmoid", "mse")
    params = random_params(net, seed, scheme="gaussian")
    params["2.weight"] = 0.1 * params["2.weight"] - 16 * torch.eye(4, dtype=torch.float64)
    params |= {name: 0.1 * params[name] + 8 for name in ("1.bias", "2.bias")}
    batch = random_batch(net, 4, seed)
    residual = {
        order: float(
            run_rule(NAME, net, params, batch, free_steps=STEPS, order=order).metrics["residual"]
        )
        for order in ("synchronous", "even-odd")
    }
    assert residual["synchronous"] > 0.5
    assert residual["even-odd"] < 1e-14


@pytest.mark.parametrize("seed", SEEDS)
def test_t_ep_3_single_precision_has_a_floor(seed: int) -> None:
    """Over the gradient as one vector: layer 1's own is too small for single precision."""
    true = torch.cat([t.flatten() for t in truth(seed).values()])
    distance = {}
    for beta in (0.1, 0.03, 0.01, 0.003, 0.001, 1e-4):
        ours = estimate(seed, beta=beta, dtype=torch.float32)
        distance[beta] = rel(torch.cat([ours[name].flatten() for name in truth(seed)]), true)
    smallest = min(d for beta, d in distance.items() if beta > 1e-4)
    assert smallest < 5e-4
    assert distance[1e-4] > 5 * smallest


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_t_ep_4_backward_weights_that_are_the_transposes(loss: str, seed: int) -> None:
    symmetric = estimate(seed, loss=loss, beta=0.1)
    common = updates(loss=loss, beta=0.1, feedback="common")
    assert worst(unstack(common.grads, seed), symmetric) <= EXACT
    backward = {"2.weight", "3.weight"} if loss == "mse" else {"2.weight"}
    assert common.aux_grads.keys() == backward
    for name in backward:
        assert rel(common.aux_grads[name][seed], symmetric[name]) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_t_ep_4_updates_of_their_own_sum_to_the_symmetric_one_to_second_order(seed: int) -> None:
    """s+ s+^T - s- s-^T = (s+ - s-) m^T + m (s+ - s-)^T, and m is s* to second order in beta."""

    def distance(beta: float) -> dict[str, float]:
        own, symmetric = updates(beta=beta, feedback="own"), estimate(seed, beta=beta)
        total = {n: own.grads[n][seed] + g[seed] for n, g in own.aux_grads.items()}
        return {name: rel(t, symmetric[name]) for name, t in total.items()}

    full, half = distance(0.1), distance(0.05)
    assert all(3.8 <= full[name] / half[name] <= 4.2 for name in full)


@pytest.mark.parametrize("seed", SEEDS)
def test_equilibrium_propagation_order_of_updates_leaves_the_estimate(seed: int) -> None:
    assert worst(estimate(seed, beta=0.1, order="even-odd"), estimate(seed, beta=0.1)) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_equilibrium_propagation_with_a_readout_tends_to_the_gradient(seed: int) -> None:
    """Second order in beta, as without one: err(beta) / err(beta / 2) tends to 4."""
    true = truth(seed, loss="cross_entropy")
    full, half = (estimate(seed, loss="cross_entropy", beta=beta) for beta in (0.1, 0.05))
    for name, gradient in true.items():
        assert 3.9 <= rel(full[name], gradient) / rel(half[name], gradient) <= 4.1


@pytest.mark.parametrize("seed", SEEDS)
def test_equilibrium_propagation_random_sign_is_one_sided_with_either_sign(seed: int) -> None:
    net, (params, batch) = network(), seeded(seed)
    rule = get_rule(NAME, nudging="random-sign", beta=0.05)
    assert rule.noise(net, 8)["sign"].shape == ()
    up, down = (
        rule.update(net, params, State({}, {}), batch, {"sign": torch.tensor(u).double()}).grads
        for u in (0.2, 0.8)
    )
    one_sided = run_rule(NAME, net, params, batch, nudging="one-sided", beta=0.05).grads
    assert worst(up, one_sided) == 0
    symmetric = run_rule(NAME, net, params, batch, nudging="symmetric", beta=0.05).grads
    mean = {name: (up[name] + down[name]) / 2 for name in up}
    assert worst(mean, symmetric) <= EXACT


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_equilibrium_propagation_objective_is_the_loss_at_the_free_equilibrium(loss: str) -> None:
    net = network(loss=loss)
    params, batches = zip(*map(seeded, SEEDS), strict=True)
    rule = get_rule(NAME, free_steps=STEPS)
    output = batched_predict(rule, net)(stack(params), State({}, {}), batches[0].x)
    grads = batched_objective_grad(rule, net)(stack(params), batches[0])
    assert worst(unstack(grads, 0), truth(0, loss=loss)) <= EXACT
    first = net.loss.value(output[0], batches[0].y)
    value = rule.objective(net, params[0], batches[0])
    assert value is not None
    torch.testing.assert_close(first, value, rtol=1e-14, atol=0)


def test_equilibrium_propagation_with_backward_weights_has_no_objective() -> None:
    params, batch = seeded(0)
    assert get_rule(NAME, feedback="own").objective(network(), params, batch) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_equilibrium_propagation_without_feedback_predicts_the_forward_pass(seed: int) -> None:
    net, (params, batch) = network(), seeded(seed)
    rule = get_rule(NAME, feedback="common")
    aux = rule.init_state(net, params, Stream(seed)).aux
    state = State({name: torch.zeros_like(t) for name, t in aux.items()}, {})
    output = forward_pass(net, params, batch).trace[-1].output
    assert rel(rule.predict(net, params, state, batch.x), output) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
def test_equilibrium_propagation_tends_to_the_gradient_through_convolutions(seed: int) -> None:
    """Pooling inside the primitive: Phi has s_1 . max_pool(W_1 * x + b_1)."""
    net = make_convolutional("sigmoid")
    params = {
        name: 0.5 * tensor for name, tensor in random_params(net, seed, scheme="gaussian").items()
    }
    batch = random_batch(net, 8, seed)
    options = {"free_steps": 100, "nudged_steps": 100}
    update = run_rule(NAME, net, params, batch, beta=1e-4, **options)
    rule = get_rule(NAME, **options)
    leaves = {name: t.clone().requires_grad_() for name, t in params.items()}
    value = rule.objective(net, leaves, batch)
    assert value is not None
    true = torch.autograd.grad(value, list(leaves.values()))
    assert worst(update.grads, dict(zip(leaves, true, strict=True))) <= 1e-6


def test_equilibrium_propagation_refuses_what_may_not_settle() -> None:
    rule = get_rule(NAME)
    assert "relu" in (rule.supports(make_network((4, 4, 4), "relu", "cross_entropy")) or "")
    assert "no layer" in (rule.supports(make_network((4, 4), loss="cross_entropy")) or "")
    assert rule.supports(make_network((4, 4, 4), "tanh", "cross_entropy")) is None
