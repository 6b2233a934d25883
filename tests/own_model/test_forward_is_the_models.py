"""The forward pass of a learner and of `backward` is the model's, or the module is named."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import bioplaus
from bioplaus.errors import ModelError
from bioplaus.nn import Residual


class Scaled(nn.Sequential):
    """Divides its input."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input / 255)


class Steep(nn.LeakyReLU):
    """Ten times as steep."""

    def forward(self, input: Tensor) -> Tensor:
        return 10 * super().forward(input)


class Halved(Residual):
    """Half a residual block."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) / 2


class Noted(nn.Identity):
    """An identity that is none."""

    def forward(self, input: Tensor) -> Tensor:
        return input + 1


class Standardised(nn.Conv2d):
    """A convolution with standardised weights, through the method that torch's forward calls."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight / weight.std(), bias)


class Scale(nn.Linear):
    """A Linear with one more parameter."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.scale = nn.Parameter(torch.ones(()))


class Renamed(nn.Linear):
    """A Linear of another class, which does nothing else."""


class MyNet(nn.Sequential):
    """A model with its modules made inside, as many write it."""

    def __init__(self) -> None:
        super().__init__(Renamed(8, 6), nn.Tanh(), nn.Linear(6, 3))


def around(*middle: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), *middle, nn.Linear(8, 3))


def hooked(kind: str) -> nn.Sequential:
    model = around(nn.Tanh())
    getattr(model[2], f"register_{kind}")(lambda *args: None)
    return model


def with_own_forward() -> nn.Sequential:
    model = around(nn.Tanh())
    model[0].forward = lambda x: F.linear(x, model[0].weight)  # type: ignore[method-assign]
    return model


def swapped_weight() -> nn.Sequential:
    model = around(nn.Tanh())
    weight = model[0].weight.detach()
    del model[0].weight
    model[0].weight = weight
    return model


def cut(weight: nn.Parameter | None) -> nn.Sequential:
    model = around(nn.Linear(8, 8))
    model[1].weight = weight  # type: ignore[assignment]
    return model


def gradient_hook() -> nn.Sequential:
    model = around(nn.Tanh())
    model[0].weight.register_hook(lambda gradient: 0 * gradient)
    return model


REFUSED: dict[str, tuple[Callable[[], nn.Sequential], str]] = {
    "Sequential's own forward": (
        lambda: Scaled(nn.Linear(8, 3)),
        r"the model \(Scaled\): it has a forward of its own",
    ),
    "nested Sequential's own forward": (
        lambda: around(Scaled(nn.Linear(8, 8))),
        r"module 1 \(Scaled\): it has a forward",
    ),
    "block's own forward": (
        lambda: around(Halved(nn.Linear(8, 8))),
        r"module 1 \(Halved\): it has a forward",
    ),
    "activation's own forward": (lambda: around(Steep(0.1)), r"module 1 \(Steep\): it has a forw"),
    "identity's own forward": (lambda: around(Noted()), r"module 1 \(Noted\): it has a forward"),
    "a forward on the object": (with_own_forward, r"module 0 \(Linear\): it has a forward"),
    "a parameter more": (lambda: around(Scale(8, 8)), r"module 1 \(Scale\): .* knows its scale"),
    "forward hook": (lambda: hooked("forward_hook"), r"module 2 \(Linear\): .*a forward hook"),
    "pre-hook": (lambda: hooked("forward_pre_hook"), r"module 2 \(Linear\): .*a forward pre-hook"),
    "backward hook": (lambda: hooked("full_backward_hook"), r"module 2 .*a backward hook"),
    "gradient hook": (gradient_hook, r"module 0 \(Linear\): its weight has a gradient hook"),
    "weight that is no parameter": (swapped_weight, r"module 0 .* its weight is no nn.Parameter"),
    "old spectral norm": (
        lambda: around(nn.utils.spectral_norm(nn.Linear(8, 8))),
        r"module 1 \(Linear\): SpectralNorm .*remove_spectral_norm",
    ),
    "pruned": (
        lambda: around(prune.l1_unstructured(nn.Linear(8, 8), "weight", 0.5)),
        r"module 1 \(Linear\): L1Unstructured .*prune.remove",
    ),
    "pruned bias": (
        lambda: around(prune.random_unstructured(nn.Linear(8, 8), "bias", 0.5)),
        r"module 1 \(Linear\): RandomUnstructured",
    ),
    "weight norm": (
        lambda: around(parametrizations.weight_norm(nn.Linear(8, 8))),
        r"module 1 \(ParametrizedLinear\): its weight is parametrized.*remove_parametrizations",
    ),
    "orthogonal": (
        lambda: around(parametrizations.orthogonal(nn.Linear(8, 8))),
        r"module 1 \(ParametrizedLinear\): its weight is parametrized",
    ),
    "lazy": (lambda: around(nn.LazyLinear(8)), r"module 1 \(LazyLinear\): its sizes are not known"),
    "no weight": (lambda: cut(None), r"module 1 \(Linear\): its weight has the shape None"),
    "cut to size": (
        lambda: cut(nn.Parameter(torch.ones(8, 5))),
        r"module 1 \(Linear\): its weight has the shape \(8, 5\), but its settings say \(8, 8\)",
    ),
    "half precision": (lambda: around(nn.Tanh()).half(), r"module 0 \(Linear\): .*float16"),
    "two precisions": (
        lambda: around(nn.Linear(8, 8).double()),
        r"module 1 \(Linear\): its weight is torch.float64 .* module 0 \(Linear\): its weight",
    ),
    "no numbers": (lambda: around(nn.Tanh()).to("meta"), r"module 0 \(Linear\): .*meta device"),
    "softmax": (lambda: around(nn.Tanh()).append(nn.Softmax(1)), r"module 3 .*logits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_changes_a_module_is_refused_and_named(name: str) -> None:
    make, message = REFUSED[name]
    x, y = torch.randn(5, 8), torch.arange(5) % 3
    for attempt in (
        lambda: bioplaus.Learner(make(), "backprop"),
        lambda: bioplaus.backward(make(), x, y, "backprop"),
        lambda: bioplaus.alignment(make(), x, y, "backprop"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_old_weight_norm_is_refused_by_name() -> None:
    with pytest.warns(FutureWarning):
        model = around(nn.utils.weight_norm(nn.Linear(8, 8)))
    with pytest.raises(ModelError, match=r"module 1 \(Linear\): WeightNorm .*remove_weight_norm"):
        bioplaus.Learner(model, "backprop")


def test_a_convolution_that_changes_its_weights_is_named() -> None:
    model = nn.Sequential(Standardised(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    with pytest.raises(ModelError, match=r"module 0 \(Standardised\): it has a _conv_forward"):
        bioplaus.Learner(model, "backprop", input_shape=(1, 4, 4))


def shared_everything() -> nn.Sequential:
    torch.manual_seed(0)
    act, same, norm = nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8)
    block = Residual(same, act)
    first, last, inner = nn.Linear(8, 8), nn.Linear(8, 3), nn.Sequential(same, norm)
    return nn.Sequential(first, act, same, norm, act, block, inner, block, last).double()


@pytest.mark.parametrize("training", [True, False])
def test_modules_that_stand_at_several_places_are_called_at_each(training: bool) -> None:
    model = shared_everything().train(training)
    theirs = copy.deepcopy(model)
    x, y = torch.randn(20, 8, dtype=torch.float64), torch.arange(20) % 3
    sgd = torch.optim.SGD(model.parameters(), lr=0.0)
    learner = bioplaus.Learner(model, "backprop", loss="cross_entropy", optimizer=sgd)
    learner.step(x, y)
    F.cross_entropy(theirs(x), y).backward()
    for ours, their in zip(model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, their.grad, rtol=1e-10, atol=1e-12)
    for ours, their in zip(model.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(ours, their, rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        torch.testing.assert_close(learner.predict(x), theirs.eval()(x), rtol=1e-10, atol=1e-12)


def test_a_class_of_ones_own_that_does_nothing_else_is_taken() -> None:
    model = MyNet()
    x = torch.randn(4, 8)
    with torch.no_grad():
        assert torch.allclose(bioplaus.Learner(model, "backprop").predict(x), model(x), atol=1e-6)


def test_what_the_types_do_not_show_is_found_by_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    model = around(nn.Tanh())
    monkeypatch.setattr(nn.Tanh, "forward", lambda self, x: torch.tanh(2 * x))
    with pytest.raises(ModelError, match=r"module 1 \(Tanh\): it gives something else"):
        bioplaus.Learner(model, "backprop")


def test_the_probe_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    state = torch.get_rng_state()
    bioplaus.Learner(model, "backprop")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_a_model_that_changes_after_the_learner_was_made_is_noticed() -> None:
    x, y = torch.randn(5, 8), torch.arange(5) % 3
    model = around(nn.Tanh(), nn.Dropout(0.1))
    learner = bioplaus.Learner(model, "backprop")
    handle = model[0].register_forward_hook(lambda *args: None)
    with pytest.raises(ModelError, match=r"module 0 \(Linear\): it has a forward hook"):
        learner.step(x, y)
    handle.remove()
    learner.step(x, y)
    model[0].weight = nn.Parameter(torch.ones(8, 8))
    with pytest.raises(ModelError, match=r"has changed since .*another parameter at layer 1"):
        learner.predict(x)
    learner = bioplaus.Learner(model, "backprop")
    model[2].p = 0.9
    with pytest.raises(ModelError, match="has changed since the learner was made"):
        learner.step(x, y)
    learner = bioplaus.Learner(model, "backprop")
    model[1] = nn.ReLU()
    with pytest.raises(ModelError, match="has changed since the learner was made"):
        learner.step(x, y)


def test_predictions_may_be_made_in_inference_mode() -> None:
    model, x = around(nn.Tanh()), torch.randn(5, 8)
    learner = bioplaus.Learner(model, "backprop")
    with torch.inference_mode():
        assert torch.allclose(learner.predict(x), model(x), atol=1e-6)
