"""Random models: the learner's forward pass and backprop's gradients are torch's, or it says no."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

import bioplaus
from bioplaus.errors import BioplausError
from bioplaus.nn import Residual

EXAMPLES = int(os.environ.get("BIOPLAUS_RANDOM_MODELS", "200"))
WIDTHS = (2, 3, 5)
ACTIVATIONS = (
    nn.ReLU, nn.Tanh, nn.Sigmoid, lambda: nn.LeakyReLU(0.1), lambda: nn.ReLU(inplace=True),
)  # fmt: skip


class Case(NamedTuple):
    """A model, one batch for it, and whether it must be taken."""

    model: nn.Sequential
    x: Tensor
    y: Tensor
    loss: str
    plain: bool


class Doubling(nn.Linear):
    """A Linear that does something else."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class Named(nn.Linear):
    """A Linear under another name."""


def hooked(module: nn.Module) -> nn.Module:
    module.register_forward_hook(lambda module, args, output: output + 1)
    return module


ODD: tuple[Callable[[int], nn.Module], ...] = (
    lambda n: Doubling(n, n),
    lambda n: hooked(nn.Linear(n, n)),
    lambda n: nn.utils.parametrizations.weight_norm(nn.Linear(n, n)),
    lambda n: prune.l1_unstructured(nn.Linear(n, n), "weight", 0.5),
    lambda n: nn.Softmax(1),
    lambda n: nn.Linear(n + 1, n),
)
"""Modules that must be refused, on vectors of n."""


@st.composite
def cases(draw: st.DrawFn) -> Case:
    torch.manual_seed(draw(st.integers(0, 2**16), label="seed"))
    modules, width, shape = start(draw)
    linears: list[nn.Linear] = [m for m in modules if isinstance(m, nn.Linear)]
    activations = [kind() for kind in ACTIVATIONS]
    for _ in range(draw(st.integers(1, 3), label="stages")):
        stage, width = row(draw, width, linears, activations, depth=0)
        modules += [nn.Sequential(*stage)] if draw(st.booleans()) else stage
        if draw(st.booleans()) and square(modules[-1], width):
            modules.append(modules[-1])
    plain = draw(st.integers(0, 9)) > 0
    if not plain:
        modules.append(draw(st.sampled_from(ODD))(width))
    outputs = draw(st.sampled_from((2, 4)))
    modules.append(nn.Linear(width, outputs, bias=draw(st.booleans())))
    model = nn.Sequential(*modules).double()
    for module in model.modules():
        if draw(st.integers(0, 5)) == 0:
            module.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(draw(st.integers(0, 3)) > 0)
    count = draw(st.integers(2, 5))
    loss = draw(st.sampled_from(("mse", "cross_entropy")))
    x = torch.randn(count, *shape, dtype=torch.float64)
    return Case(model, x, torch.randint(0, outputs, (count,)), loss, plain)


def start(draw: st.DrawFn) -> tuple[list[nn.Module], int, tuple[int, ...]]:
    """The first modules, the width of what they give, and the shape of an example."""
    width = draw(st.sampled_from(WIDTHS))
    if draw(st.booleans()):
        first: list[nn.Module] = [nn.Linear(4, width, bias=draw(st.booleans()))]
        flat = draw(st.booleans())
        return [nn.Identity(), nn.Flatten(), *first] if flat else first, width, (4,)
    convolution = nn.Conv2d(2, 3, 2, padding=draw(st.integers(0, 1)), bias=draw(st.booleans()))
    body: list[nn.Module] = [convolution]
    if draw(st.booleans()):
        body.append(nn.BatchNorm2d(3, affine=draw(st.booleans())))
    body.append(draw(st.sampled_from(ACTIVATIONS[:4]))())
    body += draw(st.sampled_from(([], [nn.MaxPool2d(2)], [nn.AvgPool2d(2, stride=1)])))
    body += [nn.Flatten(), nn.Dropout(0.0)]
    with torch.no_grad():
        size = nn.Sequential(*copy.deepcopy(body)).eval()(torch.zeros(1, 2, 4, 4)).shape[1]
    return [*body, nn.Linear(size, width)], width, (2, 4, 4)


def row(
    draw: st.DrawFn,
    width: int,
    linears: list[nn.Linear],
    activations: list[nn.Module],
    depth: int,
) -> tuple[list[nn.Module], int]:
    """A layer and what may stand around it, and the width that it gives."""
    kind = draw(st.sampled_from(("new", "again", "tied", "block")))
    fitting = [m for m in linears if (m.in_features, m.out_features) == (width, width)]
    if kind == "block" and depth < 2:
        inner, _ = row(draw, width, linears, activations, depth + 1)
        last = nn.Linear(inner_width(inner, width), width)
        body: list[nn.Module] = [Residual(*inner, last)]
    elif kind == "again" and fitting:
        body = [draw(st.sampled_from(fitting))]
    else:
        out = draw(st.sampled_from(WIDTHS))
        made = draw(st.sampled_from((nn.Linear, Named)))(width, out, bias=draw(st.booleans()))
        same = [m for m in linears if m.weight.shape == made.weight.shape]
        if kind == "tied" and same:
            made.weight = draw(st.sampled_from(same)).weight
        linears.append(made)
        body, width = [made], out
    if draw(st.booleans()):
        body.append(nn.BatchNorm1d(width, affine=draw(st.booleans()), momentum=0.2))
    if draw(st.booleans()):  # one of a few objects, which may stand elsewhere too
        body.append(draw(st.sampled_from(activations)))
    body += draw(st.sampled_from(([], [nn.Dropout(0.0)], [nn.Identity()])))
    return body, width


def square(module: nn.Module, width: int) -> bool:
    """Whether it takes vectors of its own output's width, and may stand twice in a row."""
    linears = [m for m in module.modules() if isinstance(m, nn.Linear)]
    return bool(linears) and linears[0].in_features == width and isinstance(module, nn.Sequential)


def inner_width(modules: list[nn.Module], width: int) -> int:
    for module in modules:
        width = module.out_features if isinstance(module, nn.Linear) else width
    return width


def torch_loss(case: Case, output: Tensor) -> Tensor:
    if case.loss == "cross_entropy":
        return F.cross_entropy(output, case.y)
    target = F.one_hot(case.y, output.shape[1]).double()
    return 0.5 * (output - target).square().sum(1).mean()


def close(ours: Tensor, theirs: Tensor, scale: float) -> bool:
    return float((ours - theirs).abs().max()) <= 1e-10 * max(1.0, scale)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(cases())
def test_a_random_model_trains_as_in_torch_or_is_refused(case: Case) -> None:
    trains = any(p.requires_grad for p in case.model.parameters())
    shape = tuple(case.x.shape[1:])
    try:
        learner = bioplaus.Learner(
            case.model, "backprop", loss=case.loss, input_shape=shape,
            optimizer=torch.optim.SGD(case.model.parameters(), lr=0.0),
        )  # fmt: skip
    except BioplausError as error:
        event("refused" if trains else "all frozen")
        assert "\n" not in str(error)
        assert not (case.plain and trains), error
        return
    event("taken")
    assert case.plain and trains
    theirs = copy.deepcopy(case.model)
    step = learner.step(case.x, case.y)
    output = theirs(case.x)
    value = torch_loss(case, output)
    value.backward()
    assert close(step.loss, value.detach(), float(value.detach()))
    grads = [p.grad for p in theirs.parameters() if p.grad is not None]
    scale = max(float(grad.abs().max()) for grad in grads)
    for ours, their in zip(case.model.parameters(), theirs.parameters(), strict=True):
        assert (ours.grad is None) == (their.grad is None)
        if ours.grad is not None and their.grad is not None:
            assert close(ours.grad, their.grad, scale)
    for ours, their in zip(case.model.buffers(), theirs.buffers(), strict=True):
        assert close(ours.double(), their.double(), float(their.abs().max()))
    with torch.no_grad():
        output = theirs.eval()(case.x)
        assert close(learner.predict(case.x), output, float(output.abs().max()))
