"""GAIT-prop's update is the exact one within its bound, on any device, through every door."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bioplaus
from bioplaus.experiments.experiment import Experiment, plan
from bioplaus.learning.batching import batched_update
from bioplaus.training.budget import budget
from bioplaus.training.groups import prepared
from bioplaus.training.trainer import Trainer
from tests.helpers.accelerator import RoundedProducts, play_accelerator

BOUNDS = {"fp32": 1e-3, "tf32": 1e-2}
CPU = torch.device("cpu")

both = pytest.mark.parametrize("precision", list(BOUNDS))


def four_layers(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    pairs = [(nn.Linear(64, 64), nn.LeakyReLU(0.1)) for _ in range(4)]
    return nn.Sequential(*(module for pair in pairs for module in pair))


def orthogonal(seed: int) -> nn.Sequential:
    model = four_layers(seed)
    for module in model[::2]:
        assert isinstance(module, nn.Linear)
        nn.init.orthogonal_(module.weight)
    return model


def trained(seed: int) -> nn.Sequential:
    """From orthogonal weights, fifty steps on."""
    model = orthogonal(seed)
    learner = bioplaus.Learner(model, "gaitprop")
    for step in range(50):
        learner.step(*batch(100 + step))
    model.zero_grad()
    return model


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(30, 64, generator=generator), torch.arange(30) % 10


def by_backward(model: nn.Sequential) -> dict[str, Tensor]:
    bioplaus.backward(model, *batch(0), rule="gaitprop")
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def by_learner(model: nn.Sequential) -> dict[str, Tensor]:
    learner = bioplaus.Learner(model, "gaitprop", optimizer=torch.optim.SGD(model.parameters(), 0))
    learner.step(*batch(0))
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def exactly(model: nn.Sequential, precision: str) -> dict[str, Tensor]:
    """By LU; in double precision where products do not round, which W^-1 would amplify."""
    dtype = torch.float32 if precision == "tf32" else torch.float64
    other = copy.deepcopy(model).to(dtype)
    other.zero_grad()
    x, y = batch(0)
    with rounding(precision):
        bioplaus.backward(other, x.to(dtype), y, rule="gaitprop", inverse="exact")
    return {n: p.grad for n, p in other.named_parameters() if p.grad is not None}


def furthest(ours: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    return max(
        float((ours[n].double() - exact[n].double()).norm() / exact[n].double().norm())
        for n in exact
    )


@both
@pytest.mark.parametrize("door", [by_backward, by_learner])
@pytest.mark.parametrize("weights", [four_layers, orthogonal, trained])
def test_a_users_own_model_on_an_accelerator(
    weights: Callable[[int], nn.Sequential],
    door: Callable[[nn.Sequential], dict[str, Tensor]],
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(3):
        model = weights(seed)
        with monkeypatch.context() as patch, rounding(precision):
            play_accelerator(patch, precision)
            ours = {name: grad.clone() for name, grad in door(model).items()}
        assert furthest(ours, exactly(model, precision)) <= BOUNDS[precision]


def rounding(precision: str) -> contextlib.AbstractContextManager[object]:
    return RoundedProducts() if precision == "tf32" else contextlib.nullcontext()


def trainer_of(task: Path, *assignments: tuple[str, object]) -> tuple[Experiment, Trainer]:
    experiment = plan(["gaitprop"], str(task), settings=dict(assignments))[0]
    splits = prepared(experiment, experiment.task.load_data(), CPU)
    return experiment, Trainer(
        experiment.rule, experiment.network, splits, budget(experiment), [0, 1]
    )


@both
@pytest.mark.parametrize("scheme", ["orthogonal", "xavier_uniform"])
def test_a_run_on_an_accelerator_is_the_run_on_a_cpu(
    tiny: Path, scheme: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From either start no step of any epoch that stands is outside the bound."""
    tiny.write_text(tiny.read_text() + f'init = "{scheme}"\n')
    experiment, here = trainer_of(tiny, ("task.epochs", 4))
    expected = here.train()
    with monkeypatch.context() as patch, rounding(precision):
        play_accelerator(patch, precision)
        _, there = trainer_of(tiny, ("task.epochs", 4))
        found = there.train()
        index = there.batches(9)[0]
        given = there.params, there.state, there.stepper.gather(index), {}
        with torch.no_grad():
            ours = batched_update(there.stepper.rule, experiment.network)(*given).grads
    again = there.stepper.work.steps - here.stepper.work.steps
    # whole epochs, and at least one where the weights do not start near orthogonal
    assert again % there.steps_per_epoch == 0
    assert again or scheme == "orthogonal"
    exact = plan(["gaitprop"], str(tiny), settings={"inverse": "exact"})[0].rule
    doubled = ({k: t.double() for k, t in part.items()} for part in (there.params,))
    batch_64 = type(given[2])(*(t.double() for t in given[2]))
    with torch.no_grad():
        theirs = batched_update(exact, experiment.network)(*doubled, given[1], batch_64, {}).grads
    assert furthest(ours, theirs) <= BOUNDS[precision]
    for one, other in zip(found, expected, strict=True):
        assert one.metrics["inverse_lost"] == [0.0] * 4
        near = {"fp32": 2e-3, "tf32": 2e-2}[precision]
        for a, b in zip(one.metrics["loss"], other.metrics["loss"], strict=True):
            assert a == pytest.approx(b, rel=near)
