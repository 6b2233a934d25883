"""A task's schedule in training: what each step moves, of parameters and of feedback."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bioplaus.experiments.experiment import configure
from bioplaus.tasks.task import read_task
from bioplaus.training.budget import budget
from bioplaus.training.groups import prepared
from bioplaus.training.stepper import Stepper
from tests.helpers.tiny import TINY

PLAIN = {"name": "sgd", "lr": 0.05, "momentum": 0.0, "weight_decay": 0.0}


def stepper_of(path: Path, rule: str, schedule: str) -> Stepper:
    path.write_text(TINY.replace("epochs = 2", f"epochs = 2\n{schedule}"))
    settings = {"optimizer.name": "sgd", "optimizer.lr": 0.1}
    if rule == "kolen-pollack":
        settings |= {f"aux_optimizer.{k}": v for k, v in PLAIN.items()}
    experiment = configure(rule, read_task(str(path)), settings, "fp64")
    data = experiment.task.load_training_data()
    train = prepared(experiment, data, torch.device("cpu")).train
    return Stepper(experiment.rule, experiment.network, train, budget(experiment), [0, 1])


def test_each_step_moves_by_the_scheduled_rate(tmp_path: Path) -> None:
    """Plain gradient descent: 10 steps an epoch, the rate a tenth from the second epoch on."""
    schedule = 'schedule = { kind = "step", gamma = 0.1, every = 1 }'
    stepper = stepper_of(tmp_path / "t.toml", "backprop", schedule)
    index = torch.arange(50).expand(2, 50)
    for number in range(20):
        before = {name: t.clone() for name, t in stepper.params.items()}
        stepper.step(index, number, None)
        rate = 0.1 if number < 10 else 0.01
        for name, now in stepper.params.items():
            assert now.grad is not None
            torch.testing.assert_close(now - before[name], -rate * now.grad, rtol=1e-9, atol=1e-15)


def test_the_feedback_learns_by_the_same_factor(tmp_path: Path) -> None:
    stepper = stepper_of(tmp_path / "t.toml", "kolen-pollack", 'schedule = { kind = "linear" }')
    index = torch.arange(50).expand(2, 50)
    for number in (0, 5, 15):
        before = {name: t.clone() for name, t in stepper.state.aux.items()}
        stepper.step(index, number, None)
        for name, now in stepper.state.aux.items():
            assert now.grad is not None
            due = -0.05 * (1 - number / 20) * now.grad
            torch.testing.assert_close(now - before[name], due, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("rule", ["backprop", "kolen-pollack"])
def test_a_constant_schedule_changes_no_bit(rule: str, tmp_path: Path) -> None:
    with_it = stepper_of(tmp_path / "a.toml", rule, 'schedule = { kind = "constant" }')
    without = stepper_of(tmp_path / "b.toml", rule, "")
    index = torch.arange(50).expand(2, 50)
    for number in range(5):
        with_it.step(index, number, None)
        without.step(index, number, None)
    for name, tensor in without.params.items():
        assert torch.equal(tensor, with_it.params[name])
