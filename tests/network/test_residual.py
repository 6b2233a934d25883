"""Residual blocks and dropout: exact against autograd, and no hidden weight transport."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor, nn

import bioplaus
from bioplaus.cli import main
from bioplaus.errors import BioplausError, ConfigError, UnsupportedError
from bioplaus.learning.batching import NoiseSource
from bioplaus.learning.rule import NoiseSpec
from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.residual import Beside
from bioplaus.nn import Residual
from bioplaus.numerics.random_streams import Stream
from bioplaus.own_model.read_modules import read_modules
from bioplaus.plugins import registry
from bioplaus.records.store import Store
from bioplaus.tasks.task import read_task
from bioplaus.testing import check_rule
from tests.helpers.networks import autograd_grads, random_batch, random_params, rel, run_rule, worst

X = torch.float64


def dense() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(7, 6),
        nn.Tanh(),
        Residual(nn.Linear(6, 9), nn.LeakyReLU(0.1), nn.Linear(9, 6)),
        nn.ReLU(),
        nn.Linear(6, 4),
    )


MODELS = {
    "dense": (dense, (7,)),
    "first": (
        lambda: nn.Sequential(Residual(nn.Linear(6, 6), nn.Tanh()), nn.Linear(6, 4)),
        (2, 3),
    ),
    "alone": (lambda: Residual(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5)), (5,)),
    "nested": (
        lambda: nn.Sequential(
            nn.Linear(7, 6),
            Residual(
                nn.Linear(6, 8),
                nn.Tanh(),
                Residual(nn.Linear(8, 8, bias=False), nn.Sigmoid()),
                nn.Sequential(nn.Linear(8, 6), nn.Identity(), nn.Tanh()),
            ),
            nn.Tanh(),
            nn.Linear(6, 4),
        ),
        (7,),
    ),
    "convolutional": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1),
            nn.Tanh(),
            Residual(nn.Conv2d(3, 5, 3, padding=1), nn.Tanh(), nn.Conv2d(5, 3, 1)),
            nn.Tanh(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            Residual(nn.Linear(12, 12), nn.Tanh()),
            nn.Linear(12, 4),
        ),
        (2, 4, 5),
    ),
}


def made(name: str) -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(0)
    build, shape = MODELS[name]
    return build().double(), torch.randn(5, *shape, dtype=X), torch.tensor([0, 1, 2, 3, 0])


def expected(model: nn.Sequential, x: Tensor, y: Tensor) -> list[Tensor]:
    value = F.cross_entropy(model(x), y)
    return list(torch.autograd.grad(value, list(model.parameters())))


@pytest.mark.parametrize("name", MODELS)
def test_backprop_through_residual_blocks_is_autograd(name: str) -> None:
    model, x, y = made(name)
    if name == "first":
        due = expected(model, x.flatten(1), y)
        output = model(x.flatten(1))
    else:
        due, output = expected(model, x, y), model(x)
    done = bioplaus.backward(model, x, y, rule="backprop", loss="cross_entropy")
    assert rel(done.output, output.detach()) <= 1e-14
    for parameter, gradient in zip(model.parameters(), due, strict=True):
        assert parameter.grad is not None
        assert rel(parameter.grad, gradient) <= 1e-12


@pytest.mark.parametrize("rule", ["z-il", "predictive-coding-fixed"])
@pytest.mark.parametrize("name", ["dense", "nested", "convolutional"])
def test_rules_that_are_exact_stay_exact(rule: str, name: str) -> None:
    model, x, y = made(name)
    due = expected(model, x, y)
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
        (Beside(Dense(8, 6), 5), 48, 1),
        (Beside(inner, 40), 3 * 2 * 4, 6 * 5),
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


def dropping(rate: float = 0.4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Dropout(rate),
        nn.Linear(12, 8),
        nn.Tanh(),
        nn.Dropout(rate),
        Residual(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(rate)),
        nn.Linear(8, 5),
    ).double()


def test_backprop_under_dropout_is_autograd_under_the_same_mask() -> None:
    model = dropping()
    torch.manual_seed(0)
    x, y = torch.randn(5, 12, dtype=X), torch.tensor([0, 1, 2, 3, 4])
    # network layers: Dropout 1, Linear 2, Dropout 3, Fork 4, Linear 5, Dropout 6, Join 7, Linear 8
    shapes = {"1.uniform": (5, 12), "3.uniform": (5, 8), "6.uniform": (5, 8)}
    specs = {name: NoiseSpec(shape, "uniform") for name, shape in shapes.items()}
    state = None
    for step in range(2):
        drawn = NoiseSource(specs, [7], X, torch.device("cpu"), purpose="dropout").at(step)
        masks = [(u[0] >= 0.4).double() / 0.6 for u in drawn.values()]
        h = masks[1] * torch.tanh(model[1](masks[0] * x))
        output = model[5](h + masks[2] * torch.tanh(model[4][0](h)))
        due = torch.autograd.grad(F.cross_entropy(output, y), list(model.parameters()))
        model.zero_grad()
        done = bioplaus.backward(
            model, x, y, rule="backprop", loss="cross_entropy", state=state, seed=7
        )
        state = done.state
        for parameter, gradient in zip(model.parameters(), due, strict=True):
            assert parameter.grad is not None
            assert rel(parameter.grad, gradient) <= 1e-12
        with torch.no_grad():
            assert rel(done.output, model.eval()(x)) <= 1e-14
        model.train()


def test_in_eval_mode_nothing_is_dropped() -> None:
    model, x = dropping().eval(), torch.randn(5, 12, dtype=X)
    y = torch.tensor([0, 1, 2, 3, 4])
    due = expected(model, x, y)
    bioplaus.backward(model, x, y, rule="backprop", loss="cross_entropy")
    for parameter, gradient in zip(model.parameters(), due, strict=True):
        assert parameter.grad is not None
        assert rel(parameter.grad, gradient) <= 1e-12


def test_as_many_units_are_silent_as_asked() -> None:
    from bioplaus.network.dropout import Dropout

    layer = Dropout((100,), 0.3)
    p = {"uniform": Stream(0).uniform((200, 100))}
    h = torch.ones(200, 100, dtype=X)
    output, residuals = layer.forward(p, h)
    silent = float((output == 0).double().mean())
    assert abs(silent - 0.3) <= 5 * math.sqrt(0.3 * 0.7 / output.numel())
    assert torch.allclose(output[output != 0], torch.tensor(1 / 0.7, dtype=X))
    assert torch.equal(layer.adjoint(p, residuals, h), output)
    with pytest.raises(ConfigError, match="below 1"):
        Dropout((3,), 1.0)


def test_backprop_agrees_with_autograd_of_the_network_itself() -> None:
    layers = read_modules(dense(), (7,)).layers
    net = Network(layers, get_loss("mse"), 4)
    params, batch = random_params(net, 3), random_batch(net, 5, 3)
    update = run_rule("backprop", net, params, batch)
    assert worst(update.grads, autograd_grads(net, params, batch)) <= 1e-12


BLOCKS = """
name = "blocks"
dataset = "digits"
loss = "cross_entropy"
batch_size = 50
epochs = 10

[optimizer]
name = "adam"
lr = 3e-3

[network]
layers = [
    { units = 12, activation = "tanh" },
    { type = "residual", activation = "relu", layers = [
        { units = 9, activation = "tanh" },
        { type = "residual", layers = [{ units = 9, activation = "sigmoid" }] },
        { units = 12 },
    ] },
    { units = 10 },
]
"""


def test_a_task_file_has_the_same_blocks(tmp_path: Path) -> None:
    path = tmp_path / "blocks.toml"
    path.write_text(BLOCKS)
    model = nn.Sequential(
        nn.Linear(64, 12),
        nn.Tanh(),
        Residual(
            nn.Linear(12, 9), nn.Tanh(), Residual(nn.Linear(9, 9), nn.Sigmoid()), nn.Linear(9, 12)
        ),
        nn.ReLU(),
        nn.Linear(12, 10),
    )
    assert read_task(str(path)).build_network().layers == read_modules(model, (64,))[0]
    call = ["run", "--rule", "backprop", "--task", str(path), "--seeds", "2"]
    done = CliRunner().invoke(main, [*call, "--results", str(tmp_path / "r")])
    assert done.exit_code == 0, done.output
    records = Store(tmp_path / "r").read_all().records
    assert len(records) == 2
    for record in records:
        assert record.test_accuracy is not None and record.test_accuracy > 0.8
        cosines = [c for k, c in record.curves.alignment["loss"].items() if "cosine" in k]
        measured = [c for layer in cosines for c in layer if c is not None]
        assert len(measured) >= 5 * 10 and min(measured) > 0.9999  # five layers have weights


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("layers = [{ units = 5 }]", r"layer 2 \(residual\): .*shape \(5,\).*has \(12,\)"),
        ("layers = []", "at least 1 item"),
        ("layers = [{ units = 12, kernel = 3 }]", "kernel: Extra inputs"),
        ('layers = [{ type = "conv2d", channels = 2, kernel = 2 }]', r"layer 1 \(conv2d\)"),
    ],
)
def test_wrong_blocks_of_a_task_are_named(tmp_path: Path, block: str, message: str) -> None:
    path = tmp_path / "blocks.toml"
    network = f"layers = [{{ units = 12 }}, {{ type = 'residual', {block} }}, {{ units = 10 }}]"
    path.write_text(BLOCKS.partition("layers =")[0] + network)
    with pytest.raises(ConfigError, match=message):
        read_task(str(path)).build_network()
