"""Models that are no Sequential: read by torch.fx, exact against autograd, or refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bioplaus
from bioplaus.errors import ModelError, UnsupportedError
from tests.helpers.networks import rel
from tests.helpers.own_modules import MODELS, BasicBlock, Plain, Recurrent, ResNet


def made(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    build, shape = MODELS[name]
    return build().double(), torch.randn(6, *shape, dtype=torch.float64), torch.arange(6) % 5


def at_rest(model: nn.Module, rule: str, **options: object) -> bioplaus.Learner:
    """A learner whose steps move nothing."""
    sgd = torch.optim.SGD(model.parameters(), lr=0.0)
    shape = next(shape for build, shape in MODELS.values() if isinstance(model, build))  # type: ignore[arg-type]
    return bioplaus.Learner(
        model, rule, loss="cross_entropy", optimizer=sgd, input_shape=shape, **options
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_backprop_is_autograd_and_predictions_are_the_models(name: str, training: bool) -> None:
    model, x, y = made(name)
    theirs = copy.deepcopy(model.train(training))
    sgd = torch.optim.SGD(model.parameters(), lr=0.0)
    shape = MODELS[name][1]
    learner = bioplaus.Learner(
        model, "backprop", loss="cross_entropy", optimizer=sgd, input_shape=shape
    )
    loss = learner.step(x, y).loss
    value = F.cross_entropy(theirs(x), y)
    value.backward()
    assert rel(loss, value.detach()) <= 1e-13
    for ours, their in zip(model.parameters(), theirs.parameters(), strict=True):
        assert ours.grad is not None and their.grad is not None
        assert rel(ours.grad, their.grad) <= 1e-12
    for buffer, due in zip(model.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(buffer, due, rtol=1e-13, atol=1e-14)
    with torch.no_grad():
        assert rel(learner.predict(x), theirs.eval()(x)) <= 1e-13
    done = bioplaus.backward(made(name)[0], x, y, rule="backprop", loss="cross_entropy")
    assert rel(done.loss, F.cross_entropy(made(name)[0](x), y).detach()) <= 1e-13


@pytest.mark.parametrize("rule", ["z-il", "predictive-coding-fixed"])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "resnet"])
def test_exact_rules_stay_exact(rule: str, name: str) -> None:
    model, x, y = made(name)
    due = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
    options = {"step_size": 1.0, "steps": 30} if rule == "predictive-coding-fixed" else {}
    bioplaus.backward(model, x, y, rule=rule, loss="cross_entropy", **options)
    for parameter, gradient in zip(model.parameters(), due, strict=True):
        assert parameter.grad is not None
        assert rel(parameter.grad, gradient) <= 1e-11


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rule", ["feedback-alignment", "predictive-coding"])
def test_other_rules_train_it(rule: str, name: str) -> None:
    model, x, y = made(name)
    if name == "resnet" and rule == "predictive-coding":
        with pytest.raises(UnsupportedError, match="normalises over the batch"):
            bioplaus.Learner(model, rule, input_shape=MODELS[name][1])
        return
    learner = bioplaus.Learner(model, rule, loss="cross_entropy", input_shape=MODELS[name][1])
    before, first = copy.deepcopy(model.state_dict()), learner.step(x, y).loss
    for _ in range(20):
        last = learner.step(x, y).loss
    assert last < first
    for key in dict(model.named_parameters()):
        assert not torch.equal(before[key], model.state_dict()[key]), key


def test_a_cell_that_is_called_at_every_step_has_one_weight() -> None:
    learner = bioplaus.Learner(Recurrent(), "feedback-alignment", input_shape=(8,))
    assert len([p for p in learner.net.layers if p.multiply_adds()]) == 5
    with pytest.raises(UnsupportedError, match="are one tensor"):
        bioplaus.Learner(Recurrent(), "kolen-pollack", input_shape=(8,))


def test_the_shape_of_an_example_is_told_by_what_reads_it() -> None:
    assert bioplaus.Learner(Plain(), "backprop").net.in_shape == (7,)
    with pytest.raises(ModelError, match="does not begin with Linear: give the shape"):
        bioplaus.Learner(ResNet(), "backprop")


class Calls(nn.Module):
    """Gives what a function makes of a layer's pre-activation."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.inner, self.function = nn.Linear(6, 6), function

    def forward(self, x: Tensor) -> object:
        return self.function(self.inner(x))


class Tangled(nn.Module):
    """Two inputs, a weight of its own, a hook, ...: one of what cannot be read."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.inner = kind, nn.Linear(6, 6)
        self.scale, self.multihead = nn.Parameter(torch.ones(6)), nn.MultiheadAttention(6, 1)
        if kind == "hook":
            self.register_forward_hook(lambda *args: None)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        h: Tensor = self.inner(x)
        if self.kind == "second input" and mask is not None:
            return h * mask
        if self.kind == "weight":
            return F.linear(h, self.inner.weight)
        if self.kind == "scale":
            return h * self.scale
        if self.kind == "attention":
            return self.multihead(h, h, h)[0]  # type: ignore[no-any-return]
        return h


INSIDE = r"^module 1 \(Calls\): node \w+ "
UNREADABLE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "softmax": (lambda: Calls(lambda h: torch.softmax(h, 1)), INSIDE + r"\(torch.softmax\): .*log"),
    "dropout": (lambda: Calls(lambda h: F.dropout(h)), INSIDE + r"\(dropout\): .*nn.Dropout modu"),
    "number": (lambda: Calls(lambda h: h + 1), INSIDE + "(.*): it adds something that is no tens"),
    "made": (lambda: Calls(lambda h: h + torch.ones(6)), r"node _tensor_\w+ .* of the module's ow"),
    "noise": (lambda: Calls(lambda h: h * torch.randn(6)), r"node _tensor_\w+ .* of the module's"),
    "sum": (lambda: Calls(lambda h: h * h.sum()), INSIDE + r"\(sum\): no learning rule knows it"),
    "branch": (
        lambda: Calls(lambda h: h if h.sum() > 0 else -h),
        r"module 1 \(Calls\): its forward decides by numbers of its input \(line \d+ of test_",
    ),
    "crash": (
        lambda: Calls(lambda h: h.undefined.x.y[3]()),
        r"module 1 \(Calls\)",
    ),
    "examples joined": (lambda: Calls(lambda h: torch.cat([h, h])), r"\(torch.cat\): dim=0"),
    "examples apart": (lambda: Calls(lambda h: h[0]), r"\(getitem\): it takes examples apart"),
    "every second": (lambda: Calls(lambda h: h[:, ::2]), r"\(getitem\): slices are of neighbours"),
    "view": (lambda: Calls(lambda h: h.view(2, -1)), r"\(view\): of its sizes, rules know"),
    "two outputs": (lambda: Calls(lambda h: (h, h)), "node output: what it returns is no single"),
    "detached": (lambda: Calls(lambda h: h.detach()), r"\(detach\): no learning rule knows it"),
    "scaled sum": (lambda: Calls(lambda h: torch.add(h, h, alpha=2)), "with these arguments"),
    "shapes": (lambda: Calls(lambda h: h + h[:, :1]), r"shapes \(6,\) and \(1,\): .* one shape"),
    "in place": (
        lambda: Calls(lambda h: torch.relu_(h) + h),
        "changes inner in place, which is re",
    ),
    "mean": (lambda: Calls(lambda h: h.mean(1)), r"\(mean\): means are of images"),
    "attribute": (lambda: Calls(lambda h: h.T), r"\(getattr\): it reads .T"),
    "hook": (lambda: Tangled("hook"), r"^module 1 \(Tangled\): it has a forward hook"),
    "weight": (lambda: Tangled("weight"), r"^module 1 \(Tangled\): node inner_weight .* tensor"),
    "scale": (lambda: Tangled("scale"), r"^module 1 \(Tangled\): node scale .*of the module's own"),
    "attention": (
        lambda: Tangled("attention"),
        r"module 1 \(Tangled\): node multihead .*one input",
    ),
    "inner module": (
        lambda: Calls(nn.Softplus()),
        r"^module 1\.function \(Softplus\): no learning rule knows this module",
    ),
    "nested": (
        lambda: Calls(Calls(lambda h: h - 1)),  # type: ignore[arg-type]
        r"^module 1\.function \(Calls\): node sub \(torch.sub\)",
    ),
    "nested hook": (lambda: Calls(Tangled("hook")), r"^module 1\.function \(Tangled\): .*hook"),
    "aliased": (
        lambda: Calls(lambda h: _aliased(h)),
        r"the model \(Sequential\): it gives something else|module \S+ .*something else",
    ),
}


def _aliased(h: Tensor) -> Tensor:
    other = h * h
    same = other
    other += h  # in place: `same` too, which torch.fx does not see
    return same * other


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_named(name: str) -> None:
    make, message = UNREADABLE[name]
    model = nn.Sequential(nn.Linear(8, 6), make(), nn.Linear(6, 3))
    with pytest.raises(ModelError, match=message) as caught:
        bioplaus.Learner(model, "backprop")
    assert "\n" not in str(caught.value)


class Moody(nn.Module):
    """Another function in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.inner(x)
        return torch.tanh(h) if self.training else h


def test_a_branch_on_the_mode_is_noticed_when_the_mode_changes() -> None:
    model, x, y = Moody(), torch.randn(5, 6), torch.arange(5) % 3
    learner = bioplaus.Learner(model, "backprop")
    learner.step(x, y)
    model.eval()
    with pytest.raises(ModelError, match="has changed since the learner was made"):
        learner.predict(x)


def test_a_model_that_changes_after_the_learner_was_made_is_noticed() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(5, 1, 8, 8), torch.arange(5)
    model = ResNet()
    learner = bioplaus.Learner(model, "backprop", input_shape=(1, 8, 8))
    learner.step(x, y)
    model.stages[0].relu = nn.Tanh()  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="has changed since the learner was made"):
        learner.step(x, y)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (torch.relu, "must be an nn.Module, not builtin"),
        (Plain, "must be an nn.Module, not Plain"),
        (nn.DataParallel(Plain()), "not DataParallel: give the model inside it"),
        (nn.ModuleList([nn.Linear(3, 3)]), "a list says no order of calls"),
        (BasicBlock(1, 2), r"gives the shape \(2, 8, 8\), not a vector"),
    ],
)
def test_what_is_no_model_is_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        bioplaus.Learner(model, "backprop", input_shape=(1, 8, 8))
