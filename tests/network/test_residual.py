"""Residual blocks: exact against autograd, and no hidden weight transport."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bioplaus
from bioplaus.errors import BioplausError, UnsupportedError
from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.wire import Wire
from bioplaus.nn import Residual
from bioplaus.own_model.read_modules import read_modules
from bioplaus.plugins import registry
from bioplaus.testing import check_rule
from tests.helpers.networks import autograd_grads, random_batch, random_params, rel, run_rule, worst
from tests.helpers.residual import MODELS, dense, loss_grads, made


@pytest.mark.parametrize("name", MODELS)
def test_backprop_through_residual_blocks_is_autograd(name: str) -> None:
    model, x, y = made(name)
    if name == "first":
        due = loss_grads(model, x.flatten(1), y)
        output = model(x.flatten(1))
    else:
        due, output = loss_grads(model, x, y), model(x)
    done = bioplaus.backward(model, x, y, rule="backprop", loss="cross_entropy")
    assert rel(done.output, output.detach()) <= 1e-14
    for parameter, gradient in zip(model.parameters(), due, strict=True):
        assert parameter.grad is not None
        assert rel(parameter.grad, gradient) <= 1e-12


@pytest.mark.parametrize("rule", ["z-il", "predictive-coding-fixed"])
@pytest.mark.parametrize("name", ["dense", "nested", "convolutional"])
def test_rules_that_are_exact_stay_exact(rule: str, name: str) -> None:
    model, x, y = made(name)
    due = loss_grads(model, x, y)
    layers = read_modules(model, tuple(x.shape[1:])).layers
    steps = {"steps": len(layers)} if rule == "predictive-coding-fixed" else {}
    options = {"step_size": 1.0, **steps} if steps else {}
    bioplaus.backward(model, x, y, rule=rule, loss="cross_entropy", **options)
    for parameter, gradient in zip(model.parameters(), due, strict=True):
        assert parameter.grad is not None
        assert rel(parameter.grad, gradient) <= 1e-11


def test_feedback_alignment_sends_errors_through_its_own_weights_and_the_skip() -> None:
    """d_5 = e, e_out = B_5 d_5, and below the block e_in = e_join + B_3 D_3 B_4 e_join."""
    model, x, y = made("dense")
    done = bioplaus.backward(model, x, y, rule="feedback-alignment", loss="cross_entropy", seed=1)
    feedback = done.state.memory
    # network layers: Linear 1, Fork 2, Linear 3 and 4 in the block, Join 5, Linear 6
    assert sorted(feedback) == ["3.weight", "4.weight", "6.weight"]
    first, block, last = model[0], model[2], model[4]
    model.requires_grad_(False)
    h1 = torch.tanh(first(x))
    a = block[0](h1)
    h2 = F.leaky_relu(a, 0.1)
    join = h1 + block[2](h2)
    error = torch.softmax(last(torch.relu(join)), 1) - F.one_hot(y, 4)
    e_join = (error @ feedback["6.weight"]) * (join > 0)
    slope = (a > 0).double() + 0.1 * (a <= 0).double()
    d_inner = slope * (e_join @ feedback["4.weight"])
    e_first = (1 - h1.square()) * (e_join + d_inner @ feedback["3.weight"])
    for linear, d, h in (
        (first, e_first, x),
        (block[0], d_inner, h1),
        (block[2], e_join, h2),
        (last, error, torch.relu(join)),
    ):
        assert rel(linear.weight.grad, d.T @ h / 5) <= 1e-12
        assert rel(linear.bias.grad, d.mean(0)) <= 1e-12


SUPPORTED = {
    "activation-relaxation",
    "backprop",
    "consequentialism",
    "direct-feedback-alignment",
    "feedback-alignment",
    "kolen-pollack",
    "layerwise-feedback-propagation",
    "predictive-coding",
    "predictive-coding-fixed",
    "relaxed-predictive-coding",
    "sign-symmetry",
    "weight-mirror",
    "z-il",
}


@pytest.mark.parametrize("kind", ["residual", "dropout"])
@pytest.mark.parametrize("rule", registry.names("rule"))
def test_every_rule_trains_it_or_says_why_not(rule: str, kind: str) -> None:
    torch.manual_seed(0)
    middle: list[nn.Module] = (
        [Residual(nn.Linear(6, 6), nn.LeakyReLU(0.1))] if kind == "residual" else [nn.Dropout(0.3)]
    )
    model = nn.Sequential(
        nn.Linear(6, 6), nn.LeakyReLU(0.1), *middle, nn.Linear(6, 6), nn.LeakyReLU(0.1)
    )
    x, y = torch.randn(8, 6), torch.arange(8) % 3
    try:
        learner = bioplaus.Learner(model, rule)
    except UnsupportedError as error:
        assert rule in str(error)
        assert rule not in SUPPORTED
        return
    for _ in range(2):
        assert learner.step(x, y).loss.isfinite()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@pytest.mark.parametrize("rule", ["backprop", "feedback-alignment", "sign-symmetry"])
def test_the_kit_passes_on_a_residual_network(rule: str) -> None:
    layers = read_modules(dense(), (7,)).layers
    net = Network(layers, get_loss("cross_entropy"), 4)
    checks = ("shapes", "reach", "purity", "vmap", "independence", "trace", "replicas")
    verdict = check_rule(registry.load("rule", rule), networks={"residual": net}, only=checks)
    assert verdict.passed, verdict.markdown()


def test_places_are_counted_from_the_weights() -> None:
    inner = Conv2d((2, 5, 4), 3, 2, padding=1)
    for layer, weight, places in (
        (Wire(Dense(8, 6), ((5,), (8,)), (1,), (0,)), 48, 1),
        (Wire(inner, ((40,), (2, 5, 4)), (1,), (0,)), 3 * 2 * 4, 6 * 5),
        (inner, 3 * 2 * 4, 6 * 5),
    ):
        assert layer.multiply_adds() // weight == places


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([Residual(nn.Linear(6, 5))], r"module 0 \(Residual\): .*shape \(5,\).*has \(6,\)"),
        ([nn.Linear(6, 6), Residual(nn.Tanh())], r"module 1\.0 \(Tanh\): an activation must"),
        ([Residual(nn.Linear(6, 6)), nn.Tanh(), nn.Tanh()], r"module 2 \(Tanh\)"),
        ([Residual(nn.Linear(6, 6), nn.Softmax(1))], r"module 0\.1 \(Softmax\)"),
        ([Residual(nn.Identity())], "nothing to train"),
    ],
)
def test_wrong_blocks_are_named(modules: list[nn.Module], message: str) -> None:
    with pytest.raises(BioplausError, match=message):
        bioplaus.backward(nn.Sequential(*modules), torch.randn(5, 6), torch.zeros(5).long())


def test_backprop_agrees_with_autograd_of_the_network_itself() -> None:
    layers = read_modules(dense(), (7,)).layers
    net = Network(layers, get_loss("mse"), 4)
    params, batch = random_params(net, 3), random_batch(net, 5, 3)
    update = run_rule("backprop", net, params, batch)
    assert worst(update.grads, autograd_grads(net, params, batch)) <= 1e-12
