"""Deep feedback control: the inversion by autograd's Jacobian, and its limits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import jacrev

from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Params
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    SEEDS,
    get_rule,
    make_convolutional,
    make_network,
    noise_for,
    random_batch,
    random_params,
    rel,
)

NAME = "deep-feedback-control"


def pushed(params: Params, x: Tensor, push: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Potentials and rates of a 9-12-7-4 tanh network with a linear top, for one example."""
    v, r = [], [x]
    for l in (1, 2, 3):
        v.append(params[f"{l}.weight"] @ r[-1] + params[f"{l}.bias"] + push[l - 1])
        r.append(v[-1] if l == 3 else torch.tanh(v[-1]))
    return v, r


def jacobian(params: Params, x: Tensor) -> Tensor:
    """d output / d all potentials, (4, 12 + 7 + 4), by autograd."""

    def output(push: Tensor) -> Tensor:
        return pushed(params, x, list(push.split([12, 7, 4])))[1][-1]

    found: Tensor = jacrev(output)(torch.zeros(23).double())
    return found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("learn_from", ["rates", "potentials"])
def test_the_controlled_state_and_its_updates_by_hand(learn_from: str, seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 5, seed)
    options: dict[str, object] = {"leak": 0.05, "target_step": 0.3, "learn_from": learn_from}
    rule = get_rule(NAME, **options)
    state = rule.init_state(net, params, Stream(seed))
    q = torch.cat([state.aux["1.feedback"], state.aux["2.feedback"], torch.eye(4).double()])
    expected = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
    for x, y in zip(batch.x, batch.y, strict=True):
        output = pushed(params, x, [torch.zeros(()).double()] * 3)[1][-1]
        wanted = -0.3 * (torch.softmax(output, 0) - y)
        u = torch.linalg.solve(jacobian(params, x) @ q + 0.05 * torch.eye(4).double(), wanted)
        push = list((q @ u).split([12, 7, 4]))
        v, r = pushed(params, x, push)
        for l in (1, 2, 3):
            d = push[l - 1]
            if learn_from == "rates" and l < 3:
                d = torch.tanh(v[l - 1]) - torch.tanh(v[l - 1] - push[l - 1])
            expected[f"{l}.weight"] -= torch.outer(d, r[l - 1]) / (0.3 * 5)
            expected[f"{l}.bias"] -= d / (0.3 * 5)
    grads = rule.update(net, params, state, batch, noise_for(rule, net, batch)).grads
    assert all(rel(grads[name], due) <= 1e-11 for name, due in expected.items())


@pytest.mark.parametrize("seed", SEEDS)
def test_with_the_jacobians_transpose_targets_are_gauss_newtons(seed: int) -> None:
    """d = D * (J^+ e) as lambda and alpha -> 0, to first order in lambda."""
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 1, seed)
    j = jacobian(params, batch.x[0])
    aux = {"1.feedback": j[:, :12].T.contiguous(), "2.feedback": j[:, 12:19].T.contiguous()}
    error = torch.softmax(net.output(params, batch.x), 1)[0] - batch.y[0]
    v, _ = pushed(params, batch.x[0], [torch.zeros(()).double()] * 3)
    # the top's own J is the identity, and so its Q is the transpose too
    whole = torch.linalg.pinv(j) @ error
    slopes = [1 - torch.tanh(v[0]) ** 2, 1 - torch.tanh(v[1]) ** 2]
    distances = []
    for step in (1e-3, 5e-4):
        rule = get_rule(NAME, leak=1e-12, target_step=step)
        grads = rule.update(net, params, State(aux, {}), batch, noise_for(rule, net, batch)).grads
        ours = torch.cat([grads[f"{l}.bias"] for l in (1, 2, 3)])
        due = torch.cat([slopes[0] * whole[:12], slopes[1] * whole[12:19], whole[19:]])
        distances.append(rel(ours, due))
    assert distances[0] < 5e-3
    assert distances[0] / distances[1] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_controlled_output_meets_its_target(seed: int) -> None:
    """Exactly where the network is linear and the controller does not leak."""
    net = make_network((9, 12, 7, 4), "identity", "mse")
    params, batch = random_params(net, seed), random_batch(net, 5, seed)
    rule = get_rule(NAME, leak=1e-13, target_step=0.5)
    state = rule.init_state(net, params, Stream(seed))
    update = rule.update(net, params, state, batch, noise_for(rule, net, batch))
    assert float(update.metrics["residual"]) < 1e-9


def test_feedback_weights_settle_at_the_jacobians_transpose() -> None:
    """The mean of their gradient over the noise is gamma Q - J^T, within five standard errors."""
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, one = random_params(net, 0), random_batch(net, 1, 0)
    many = Batch(one.x.expand(20000, -1), one.y.expand(20000, -1))
    rule = get_rule(NAME, sigma=1e-4, feedback_decay=2.0)
    state = rule.init_state(net, params, Stream(0))
    noise = {
        str(l): Stream(0).at("noise", l).normal((20000, n)) for l, n in ((1, 12), (2, 7), (3, 4))
    }
    grads = rule.update(net, params, state, many, noise).aux_grads
    j = jacobian(params, one.x[0])
    for name, part in (("1.feedback", j[:, :12]), ("2.feedback", j[:, 12:19])):
        seen = 2 * state.aux[name] - grads[name]
        # an entry's variance is J_ki^2 + sum_j J_kj^2
        error = ((part.square().T + j.square().sum(1)) / 20000).sqrt()
        assert float(((seen - part.T) / error).abs().max()) < 5
        assert rel(seen, part.T) < 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_images_are_controlled_alike(seed: int) -> None:
    """Zero feedback below leaves the last layer alone to meet the target: e_L / (1 + alpha)."""
    net = make_convolutional("tanh")
    params, batch = random_params(net, seed), random_batch(net, 5, seed)
    rule = get_rule(NAME, leak=0.25)
    state = rule.init_state(net, params, Stream(seed))
    assert {k: tuple(v.shape) for k, v in state.aux.items()} == {
        "1.feedback": (90, 4),
        "3.feedback": (8, 4),
    }
    silent = State({k: 0 * v for k, v in state.aux.items()}, {})
    grads = rule.update(net, params, silent, batch, noise_for(rule, net, batch)).grads
    error = torch.softmax(net.output(params, batch.x), 1) - batch.y
    assert rel(grads["5.bias"], error.mean(0) / 1.25) <= 1e-12
    assert not grads["1.weight"].any() and not grads["3.weight"].any()


def test_feedback_weights_start_at_the_product_of_those_above() -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params = random_params(net, 0)
    aux = get_rule(NAME).init_state(net, params, Stream(0)).aux
    assert rel(aux["2.feedback"], params["3.weight"].T) <= 1e-14
    assert rel(aux["1.feedback"], (params["3.weight"] @ params["2.weight"]).T) <= 1e-14
    random = get_rule(NAME, start="random").init_state(net, params, Stream(0)).aux
    assert {k: v.shape for k, v in random.items()} == {k: v.shape for k, v in aux.items()}
