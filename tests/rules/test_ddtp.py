"""Direct difference target propagation: its targets, its loss by autograd, and Gauss-Newton."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Params
from bioplaus.numerics.random_streams import Stream
from tests.helpers.networks import (
    EXACT,
    SEEDS,
    chain,
    draw,
    get_rule,
    layer_jacobians,
    make_convolutional,
    make_network,
    noise_for,
    random_batch,
    random_params,
    rel,
)

NAME = "ddtp"
SIZES = {1: 12, 2: 7}


def top(params: Params, h: Tensor, l: int) -> Tensor:
    """h_L of a 9-12-7-4 tanh network with a linear top, from h_l."""
    for k in range(l + 1, 4):
        a = h @ params[f"{k}.weight"].T + params[f"{k}.bias"]
        h = a if k == 3 else torch.tanh(a)
    return h


@pytest.mark.parametrize("seed", SEEDS)
def test_updates_are_the_difference_targets_written_out(seed: int) -> None:
    """The authors' order: Q t_L + h_l - Q h_L, whatever the step of the output's target."""
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 5, seed)
    rule = get_rule(NAME)
    state = rule.init_state(net, params, Stream(seed))
    grads = rule.update(net, params, state, batch, noise_for(rule, net, batch)).grads
    h = [batch.x]
    for l in (1, 2, 3):
        a = h[-1] @ params[f"{l}.weight"].T + params[f"{l}.bias"]
        h.append(a if l == 3 else torch.tanh(a))
    eta = 0.06
    target = h[3] - eta * (torch.softmax(h[3], 1) - batch.y)
    for l in (1, 2, 3):
        if l == 3:
            d = (h[3] - target) / eta
        else:
            q = state.aux[f"{l}.feedback"]
            d = (1 - h[l] ** 2) * (h[l] - (target @ q.T + h[l] - h[3] @ q.T)) / eta
        # the target's difference loses some digits
        assert rel(grads[f"{l}.weight"], d.T @ h[l - 1] / 5) <= 1e-12
        assert rel(grads[f"{l}.bias"], d.mean(0)) <= 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_feedback_descends_the_difference_reconstruction_loss(seed: int) -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, seed), random_batch(net, 5, seed)
    rule = get_rule(NAME, noise=0.3, feedback_decay=0.2)
    state = rule.init_state(net, params, Stream(seed))
    noise = noise_for(rule, net, batch, seed)
    ours = rule.update(net, params, state, batch, noise)
    h, shares = batch.x, []
    for l in SIZES:
        h = torch.tanh(h @ params[f"{l}.weight"].T + params[f"{l}.bias"])
        q = state.aux[f"{l}.feedback"].clone().requires_grad_()
        shaken = h + 0.3 * noise[str(l)]
        # (reconstruction - shaken activity) / sigma, per example
        back = top(params, shaken, l) @ q.T + h - top(params, h, l) @ q.T
        loss = 0.5 * ((back - shaken) / 0.3).square().sum(1).mean() + 0.1 * q.square().sum()
        (due,) = torch.autograd.grad(loss, q)
        assert rel(ours.aux_grads[f"{l}.feedback"], due) <= 100 * EXACT
        shares.append(
            float(((back.detach() - shaken) / 0.3).square().sum() / noise[str(l)].square().sum())
        )
    assert float(ours.metrics["reconstruction"]) == pytest.approx(sum(shares) / 2, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_where_feedback_is_at_rest_targets_are_damped_gauss_newtons(seed: int) -> None:
    """Of one example: its gradient is 0 at J^T (J J^T + gamma)^-1, for orthonormal noise.

    N of them, sqrt(N) times an orthogonal matrix's rows, have the covariance I exactly. What is
    left is of the curvature between layer and output, and shrinks with sigma; above layer 2
    the network is linear.
    """
    gamma, net = 0.3, make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, one = random_params(net, seed), random_batch(net, 1, seed)
    jacobians = layer_jacobians(net, params, one.x)
    at_rest = {}
    for l in SIZES:
        j = chain(jacobians[l:])
        at_rest[f"{l}.feedback"] = j.T @ torch.linalg.inv(j @ j.T + gamma * torch.eye(4).double())
    many = Batch(one.x.expand(12, -1), one.y.expand(12, -1))
    noise = {
        str(l): 12**0.5 * torch.linalg.qr(draw(seed, f"noise {l}", 12, 12))[0][:, :n]
        for l, n in SIZES.items()
    }
    error = torch.softmax(net.output(params, one.x), 1)[0] - one.y[0]
    far = {}
    for sigma in (1e-4, 5e-5):
        rule = get_rule(NAME, noise=sigma, feedback_decay=gamma)
        update = rule.update(net, params, State(at_rest, {}), many, noise)
        far[sigma] = [float(g.norm()) for g in update.aux_grads.values()]
        for l in SIZES:
            j = chain(jacobians[l:])
            # the minimum of ||J v - e||^2 + gamma ||v||^2
            tall = torch.cat([j, gamma**0.5 * torch.eye(j.shape[1]).double()])
            wanted = torch.cat([error, torch.zeros(j.shape[1]).double()])
            v = torch.linalg.lstsq(tall, wanted[:, None]).solution[:, 0]
            slope = net.forward(params, one.x)[l - 1].slope[0]
            assert rel(update.grads[f"{l}.bias"], slope * v) <= 1e-10
    (first, second), (nearer, _) = far[1e-4], far[5e-5]
    assert second < 1e-9 and first < 1e-3
    assert first / nearer == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_without_damping_the_target_meets_the_outputs_and_is_the_shortest(seed: int) -> None:
    """Q_l = J_l^+: J_l moves by the whole of e_L, and layer l by nothing in J_l's null space."""
    net = make_network((9, 12, 7, 4), "identity", "mse")
    params, one = random_params(net, seed), random_batch(net, 1, seed)
    jacobians = layer_jacobians(net, params, one.x)
    aux = {f"{l}.feedback": torch.linalg.pinv(chain(jacobians[l:])) for l in SIZES}
    rule = get_rule(NAME)
    grads = rule.update(net, params, State(aux, {}), one, noise_for(rule, net, one)).grads
    error = (net.output(params, one.x) - one.y)[0]
    for l in SIZES:
        j, d = chain(jacobians[l:]), grads[f"{l}.bias"]
        assert rel(j @ d, error) <= 1e-11
        assert rel(torch.linalg.pinv(j) @ (j @ d), d) <= 1e-11


@pytest.mark.parametrize("seed", SEEDS)
def test_layers_of_images_have_feedback_too(seed: int) -> None:
    net = make_convolutional("tanh")
    params, batch = random_params(net, seed), random_batch(net, 5, seed)
    rule = get_rule(NAME)
    state = rule.init_state(net, params, Stream(seed))
    assert {k: tuple(v.shape) for k, v in state.aux.items()} == {
        "1.feedback": (90, 4),
        "3.feedback": (8, 4),
    }
    update = rule.update(net, params, state, batch, noise_for(rule, net, batch))
    trace = net.forward(params, batch.x)
    error = torch.softmax(trace[-1].output, 1) - batch.y
    for l in (1, 3):
        step = trace[l - 1]
        d = step.slope * (error @ state.aux[f"{l}.feedback"].T).reshape(step.output.shape)
        due = net.layers[l - 1].weight_grad(step.residuals, d)
        assert rel(update.grads[f"{l}.weight"], due["weight"]) <= EXACT


def test_feedback_like_the_product_of_weights_aligns_with_it() -> None:
    net = make_network((9, 12, 7, 4), "tanh", "cross_entropy")
    params, batch = random_params(net, 0), random_batch(net, 5, 0)
    upper = params["3.weight"].T
    aux = {"2.feedback": 3 * upper, "1.feedback": params["2.weight"].T @ upper}
    rule, noise = get_rule(NAME), noise_for(get_rule(NAME), net, batch)
    metrics = rule.update(net, params, State(aux, {}), batch, noise).metrics
    assert float(metrics["feedback_alignment"]) == pytest.approx(1, abs=1e-12)
    aux["1.feedback"] = -aux["1.feedback"]
    metrics = rule.update(net, params, State(aux, {}), batch, noise).metrics
    assert float(metrics["feedback_alignment"]) == pytest.approx(-1, abs=1e-12)
