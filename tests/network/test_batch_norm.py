"""Batch normalisation in one's own model: torch's numbers, and only the rules that have them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]
from torch import Tensor, nn

import bioplaus
from bioplaus.errors import ModelError, UnsupportedError
from bioplaus.network.batch_norm import BatchNorm
from bioplaus.nn import Residual
from bioplaus.plugins import registry
from tests.helpers.networks import rel

X = torch.float64


def dense() -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm1d(7),
        nn.Linear(7, 6),
        nn.BatchNorm1d(6, eps=1e-3, momentum=0.3),
        nn.Tanh(),
        nn.Linear(6, 5, bias=False),
        nn.LeakyReLU(0.1),
        nn.BatchNorm1d(5, affine=False),
        nn.Linear(5, 4),
    )


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3, momentum=None),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(3),
        nn.Flatten(),
        nn.Linear(12, 4),
    )


def residual() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        Residual(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)),
        nn.Tanh(),
        nn.Flatten(),
        Residual(nn.Linear(60, 60), nn.BatchNorm1d(60), Residual(nn.BatchNorm1d(60), nn.Tanh())),
        nn.Linear(60, 4),
    )


MODELS: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...]]] = {
    "dense": (dense, (7,)),
    "convolutional": (convolutional, (2, 4, 5)),
    "residual": (residual, (2, 4, 5)),
}
ALLOWED = {
    "backprop", "feedback-alignment", "sign-symmetry", "kolen-pollack", "weight-mirror", "sal",
}  # fmt: skip


def made(name: str) -> tuple[nn.Sequential, Tensor, Tensor]:
    """The model, with affine parameters and statistics that are not those of the start."""
    torch.manual_seed(0)
    build, shape = MODELS[name]
    model = build().to(X)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model, torch.randn(9, *shape, dtype=X), torch.arange(9) % 4


def same_state(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_backprop_is_autograd_and_the_statistics_are_torchs(name: str, training: bool) -> None:
    model, x, y = made(name)
    model.train(training)
    theirs = copy.deepcopy(model)
    state = None
    for step in range(3):
        batch, labels = x[step:], y[step:]  # of another size each time
        theirs.zero_grad()
        output = theirs(batch)
        loss = F.cross_entropy(output, labels)
        loss.backward()
        model.zero_grad()
        done = bioplaus.backward(model, batch, labels, "backprop", "cross_entropy", state)
        state = done.state
        assert rel(done.loss, loss.detach()) <= 1e-12
        assert rel(done.output, output.detach()) <= 1e-12
        for (which, p), q in zip(model.named_parameters(), theirs.parameters(), strict=True):
            assert p.grad is not None and q.grad is not None
            # before a normalisation a bias has the gradient 0: compare with 1 there
            due = max(float(q.grad.abs().max()), 1.0)
            assert float((p.grad - q.grad).abs().max()) <= 1e-10 * due, which
        same_state(model, theirs)


@pytest.mark.parametrize("name", MODELS)
def test_a_learner_with_backprop_is_torchs_own_training(name: str) -> None:
    model, x, y = made(name)
    theirs = copy.deepcopy(model)
    learner = bioplaus.Learner(
        model, "backprop", loss="cross_entropy", input_shape=tuple(x.shape[1:]),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )  # fmt: skip
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(4):
        learner.step(x, y)
        sgd.zero_grad()
        F.cross_entropy(theirs(x), y).backward()
        sgd.step()
    same_state(model, theirs)
    before = copy.deepcopy(model.state_dict())
    predicted = learner.predict(x)
    with torch.no_grad():
        assert rel(predicted, theirs.eval()(x)) <= 1e-10
    assert rel(predicted[:1], learner.predict(x[:1])) <= 1e-12  # each example for itself
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_module_in_eval_mode_goes_by_its_statistics_and_keeps_them() -> None:
    model, x, y = made("dense")
    model[2].eval()
    theirs = copy.deepcopy(model)
    F.cross_entropy(theirs(x), y).backward()
    bioplaus.backward(model, x, y, "backprop", "cross_entropy")
    for p, q in zip(model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-10, atol=1e-10)
    same_state(model, theirs)


def test_alignment_takes_the_model_as_in_eval_mode_and_changes_nothing() -> None:
    model, x, y = made("dense")
    before = copy.deepcopy(model.state_dict())
    table = bioplaus.alignment(model, x, y, "backprop", loss="cross_entropy")
    assert (table["cosine"] - 1).abs().max() <= 1e-10
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("rule", registry.names("rule"))
def test_every_rule_trains_it_or_says_why_not(rule: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Sigmoid(), nn.Linear(6, 6), nn.Sigmoid()
    )
    x, y = torch.randn(8, 6), torch.arange(8) % 3
    if rule not in ALLOWED:
        with pytest.raises(UnsupportedError, match=f"{rule} .*layer 2 normalises over the batch"):
            bioplaus.Learner(model, rule)
        return
    learner = bioplaus.Learner(model, rule)
    for _ in range(2):
        assert learner.step(x, y).loss.isfinite()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


def test_feedback_weights_know_nothing_of_a_gain() -> None:
    """With the gain doubled and the shift kept at 0, the error below is the same vector."""
    layer = BatchNorm((5,))
    torch.manual_seed(0)
    h, d = torch.randn(8, 5, dtype=X), torch.randn(8, 5, dtype=X)
    found = []
    for gain in (1.0, 2.0):
        p = {"gain": torch.full((5,), gain, dtype=X), "shift": torch.zeros(5, dtype=X)}
        _, residuals = layer.forward(p, h)
        found.append(layer.adjoint({}, residuals, d))
    assert torch.equal(*found)
    assert rel(found[0], layer.adjoint({"gain": torch.ones(5, dtype=X)}, residuals, d)) == 0


@pytest.mark.parametrize("rule", sorted(ALLOWED))
def test_digits_are_learned(rule: str) -> None:
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    model = nn.Sequential(
        nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(),
        nn.Linear(48, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    learner = bioplaus.Learner(model, rule, loss="cross_entropy", optimizer=sgd)
    for _ in range(8):
        for batch in torch.randperm(1400).split(35):
            learner.step(x[batch], y[batch])
    accuracy = (learner.predict(x[1400:]).argmax(1) == y[1400:]).float().mean()
    assert accuracy > 0.85
    model.eval()
    assert torch.allclose(learner.predict(x[1400:]), model(x[1400:]), atol=1e-4)


def test_a_learner_goes_on_bit_for_bit() -> None:
    def start() -> tuple[nn.Sequential, bioplaus.Learner]:
        model, _, _ = made("dense")
        return model, bioplaus.Learner(model, "kolen-pollack", input_shape=(7,))

    _, x, y = made("dense")
    model, learner = start()
    learner.step(x, y)
    saved = copy.deepcopy(learner.state_dict())
    learner.step(x, y)
    other, resumed = start()
    resumed.load_state_dict(saved)
    resumed.step(x, y)
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([nn.Linear(6, 6), nn.BatchNorm1d(5)], r"module 1 \(BatchNorm1d\): .*reads 5 units"),
        ([nn.Linear(6, 6), nn.BatchNorm2d(6)], r"\(BatchNorm2d\): .*6 channels .*\(6,\)"),
        ([nn.Linear(6, 6), nn.BatchNorm1d(6, track_running_stats=False)], "track_running_stats"),
        ([nn.BatchNorm1d(6), nn.Tanh(), nn.Tanh()], r"module 2 \(Tanh\)"),
    ],
)
def test_wrong_modules_are_named(modules: list[nn.Module], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        bioplaus.backward(nn.Sequential(*modules), torch.randn(5, 6), torch.zeros(5).long())


def test_one_example_has_no_variance() -> None:
    model, x, y = made("dense")
    learner = bioplaus.Learner(model, "backprop", input_shape=(7,))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ModelError, match=r"at least two examples .*drop_last"):
        learner.step(x[:1], y[:1])
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    model.eval()
    learner.step(x[:1], y[:1])
