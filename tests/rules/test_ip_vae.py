"""The iterative Poisson VAE: inference as a descent, when it is stable, and what is learned."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

import bioplaus
from bioplaus.errors import UnsupportedError
from bioplaus.experiments.experiment import configure
from bioplaus.learning.rule import Batch, State
from bioplaus.network.activations import Identity
from bioplaus.network.layer import Dense, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.pooling import Flatten
from bioplaus.numerics.random_streams import Stream
from bioplaus.rules.ip_vae import IpVae, Model, bounded
from bioplaus.rules.poisson import counts, kl
from bioplaus.tasks.task import read_task
from tests.helpers.networks import EXACT, every_seed, rel

NET = Network((Dense(9, 6), Dense(6, 9, Identity(), bias=False)), get_loss("mse"), 9)
ROWS, STEPS = 4, 3


def inputs(seed: int, rule: IpVae) -> tuple[Params, State, Batch, Params]:
    stream = Stream(seed)
    params = NET.init(stream.at("net"))
    state = rule.init_state(NET, params, stream.at("state"))
    sigma = {"log_sigma": 0.3 * stream.at("s").normal((9,))}
    x = stream.at("x").normal((ROWS, 9))
    drawn = {"counts": stream.at("counts").uniform(rule.noise(NET, ROWS)["counts"].shape)}
    return params, State({**state.aux, **sigma}, state.memory), Batch(x, x), drawn


def rates_and(seed: int, *names: str) -> tuple[Tensor, ...]:
    """Log rates (ROWS, 6) of those names, moderate."""
    return tuple(0.5 * Stream(seed).at(n).normal((ROWS, 6)) - 0.5 for n in names)


def unexplained(x: Tensor, out: Tensor, ls: Tensor) -> Tensor:
    """sum (x - out)^2 / (2 s^2) + log s, of each example: F without its KL."""
    return ((x - out) ** 2 / (2 * (2 * ls).exp()) + ls).sum(1)


@every_seed
def test_t_ipv_1_the_drive_is_the_natural_gradient_of_f(seed: int) -> None:
    params, state, batch, _ = inputs(seed, IpVae.configured())
    ls, (u, u0) = state.aux["log_sigma"], rates_and(seed, "u", "u0")
    free = u.clone().requires_grad_()
    f = unexplained(batch.x, free.exp() @ params["2.weight"].T, ls).sum() + 0.7 * kl(free, u0).sum()
    (slope,) = torch.autograd.grad(f, free)
    drive = Model(NET, params, (2 * ls).exp(), 0.1, 0.0, 0.7).drive(batch.x, u.exp(), u, u0)
    assert rel(drive, -slope / u.exp()) <= 1e-13


@every_seed
def test_t_ipv_3_inference_descends_f_to_its_minimum(seed: int) -> None:
    """In mean field, from u0 that stays, in steps of 0.05."""
    params, state, batch, _ = inputs(seed, IpVae.configured())
    w, ls, (u0,) = params["2.weight"], state.aux["log_sigma"], rates_and(seed, "u0")
    model, u, values = Model(NET, params, (2 * ls).exp(), 0.05, 0.0, 1.0), u0, []
    for step in range(1500):
        if step < 300:
            values.append((unexplained(batch.x, u.exp() @ w.T, ls).sum() + kl(u, u0).sum()).item())
        u = u + 0.05 * model.drive(batch.x, u.exp(), u, u0)
    rises = [(after - before) / abs(before) for before, after in pairwise(values)]
    assert max(rises) <= 1e-14 and values[-1] < values[0]
    assert float(model.drive(batch.x, u.exp(), u, u0).abs().max()) <= 1e-12


@every_seed
def test_t_ipv_4_learning_is_the_gradient_with_counts_held(seed: int) -> None:
    rule = IpVae.configured({"steps": STEPS, "beta": 1.5})
    params, state, batch, drawn = inputs(seed, rule)
    update = rule.update(NET, params, state, batch, drawn)
    w = params["2.weight"].clone().requires_grad_()
    ls = state.aux["log_sigma"].clone().requires_grad_()
    first = state.aux["start"].clone().requires_grad_()
    us = [first.detach().expand(ROWS, -1)]
    total = torch.zeros(()).double()
    for t in range(STEPS):
        z = counts(drawn["counts"][2 * t], us[-1])
        r = (batch.x - z @ w.detach().T) / (2 * ls.detach()).exp()
        us.append(bounded(us[-1] + bounded(0.1 * (r @ w.detach() - 0.3))))
        z = counts(drawn["counts"][2 * t + 1], us[-1])
        total = total + unexplained(batch.x, z @ w.T, ls).mean()
    total = (total + 1.5 * kl(us[1], first.expand(ROWS, -1)).mean(0).sum()) / STEPS
    due_w, due_ls, due_first = torch.autograd.grad(total, [w, ls, first])
    assert rel(update.grads["2.weight"], due_w) <= 1e-13
    assert rel(update.aux_grads["log_sigma"], due_ls) <= 1e-13
    assert rel(update.aux_grads["start"], due_first) <= 1e-13
    assert not update.grads["1.weight"].any()


@every_seed
def test_t_ipv_6_inference_is_stable_below_a_stiffness_of_2_and_not_above(seed: int) -> None:
    """A small step off a fixed point shrinks at 1.9 / lambda and grows at 2.1 / lambda."""
    u = -1 + 0.5 * Stream(seed).at("rate").normal((6,))
    params, sigma2 = NET.init(Stream(seed)), torch.full((9,), -2.0).double().exp()
    w, half = params["2.weight"], (u / 2).exp()
    lam, directions = torch.linalg.eigh(half[:, None] * (w.T @ w) * half / sigma2[0])
    off = 1e-6 * directions[:, -1] / half
    moved = []
    for size in (1.9, 2.1):
        eta = size / float(lam[-1])
        # c is not quite the identity: a drive that it undoes makes u a fixed point
        drive = undone(undone(u) - u) / eta
        x = u.exp() @ w.T + sigma2 * (w @ torch.linalg.solve(w.T @ w, drive))
        model, at = Model(NET, params, sigma2, eta, 0.0, 1.0), (u + off)[None]
        for _ in range(400):
            at = model.inferred(x, at.exp(), at, at)
        moved.append(float((at - u).norm() / off.norm()))
    assert moved[0] < 1e-2 and moved[1] > 1e3


def undone(c: Tensor) -> Tensor:
    """v with c(v) = c, for v > -8."""
    return 10 - torch.log(torch.expm1(10 - c))


@every_seed
def test_stiffness_is_eta_times_the_largest_curvature(seed: int) -> None:
    rule = IpVae.configured({"steps": STEPS})
    params, state, batch, drawn = inputs(seed, rule)
    w, metrics = params["2.weight"], rule.update(NET, params, state, batch, drawn).metrics
    u = state.aux["start"].expand(ROWS, -1)
    model = Model(NET, params, (2 * state.aux["log_sigma"]).exp(), 0.1, 0.3, 1.0)
    for t in range(STEPS):
        u = model.inferred(batch.x, counts(drawn["counts"][2 * t], u), u, u)
    half = u.exp().mean(0).sqrt()
    lam = torch.linalg.eigvalsh(half[:, None] * ((w.T / model.sigma2) @ w) * half)
    assert 0.95 * 0.1 * lam[-1] <= metrics["stiffness"] <= 0.1 * lam[-1] * (1 + EXACT)


@every_seed
def test_through_time_is_autograd_of_the_mean_free_energy(seed: int) -> None:
    """Written out with relaxed counts, for all that is learned, half way to cold."""
    options = {"learning": "bptt", "steps": STEPS, "beta": 1.5, "arrivals": 5, "cooling": 4}
    rule = IpVae.configured(options)
    params, state, batch, drawn = inputs(seed, rule)
    state = State(state.aux, {"step": torch.tensor(2.0).double()})
    update = rule.update(NET, params, state, batch, drawn)
    learned = {"w": params["2.weight"], **state.aux}
    free = {name: tensor.clone().requires_grad_() for name, tensor in learned.items()}
    w, temperature, waits = free["w"], 0.5 * (1 + 0.01), iter(-drawn["counts"].log())

    def draw(u: Tensor) -> Tensor:
        times = torch.cumsum(next(waits) / u.exp(), 0)
        return torch.sigmoid((1 - times) / temperature).sum(0)

    ls = 3.45 * torch.tanh(free["log_sigma"] / 3.45)
    u, total = free["start"].expand(ROWS, -1), torch.zeros(()).double()
    for _ in range(STEPS):
        before, r = u, (batch.x - draw(u) @ w.T) / (2 * ls).exp()
        step = free["log_eta"].exp() * (r @ w - free["log_kappa"].exp())
        u = bounded(u + bounded(step))
        f = unexplained(batch.x, draw(u) @ w.T, ls) + 1.5 * kl(u, before).sum(1)
        total = total + f.mean() / STEPS
    due = dict(zip(free, torch.autograd.grad(total, list(free.values())), strict=True))
    assert rel(update.grads["2.weight"], due.pop("w")) <= EXACT
    assert set(update.aux_grads) == set(due)
    for name, grad in due.items():
        assert rel(update.aux_grads[name], grad) <= EXACT, name
    assert update.memory["step"] == 3


def test_more_updates_a_step_feel_the_kl_to_its_start() -> None:
    rule = IpVae.configured({"steps": 1, "inner": 2, "beta": 2.0})
    params, state, batch, _ = inputs(0, rule)
    w, s2 = params["2.weight"], (2 * state.aux["log_sigma"]).exp()
    u0 = u = state.aux["start"].expand(ROWS, -1)
    for _ in range(2):
        drive = ((batch.x - u.exp() @ w.T) / s2) @ w - 0.3 - 2 * (u - u0)
        u = bounded(u + bounded(0.1 * drive))
    assert rel(rule.embed(NET, params, state, batch.x, 1), u.exp()) <= EXACT


def test_the_floor_of_s_holds_from_above_alone() -> None:
    rule = IpVae.configured({"steps": 1})
    params, state, batch, drawn = inputs(0, rule)
    for scale, sign in ((0.0, 0.0), (30.0, -1.0)):
        aux = {**state.aux, "log_sigma": torch.full((9,), -3.0).double()}
        own = {**params, "2.weight": 0 * params["2.weight"]}
        shown = Batch(scale * batch.x, batch.y)
        grad = rule.update(NET, own, State(aux, {}), shown, drawn).aux_grads["log_sigma"]
        assert torch.equal(grad.sign(), torch.full((9,), sign).double())


def test_layers_without_weights_do_not_rest() -> None:
    layers = (Flatten((1, 3, 3)), Dense(9, 6), Dense(6, 9, Identity(), bias=False))
    net = Network(layers, get_loss("mse"), 9)
    assert IpVae.configured().rests(net, 0).params == {"2"}


@pytest.mark.parametrize("rule", ["ip-vae", "vae"])
def test_a_model_of_ones_own_has_no_goal(rule: str) -> None:
    model = torch.nn.Sequential(*(torch.nn.Linear(6, 6) for _ in range(3)))
    with pytest.raises(UnsupportedError, match="whole examples"):
        bioplaus.Learner(model, rule)


def test_who_it_trains() -> None:
    assert configure("ip-vae", read_task("digits-vae"), {}).rule.name == "ip-vae"
    for task in ("digits-mlp", "digits-reconstruction"):
        with pytest.raises(UnsupportedError, match="whole examples"):
            configure("ip-vae", read_task(task), {})
