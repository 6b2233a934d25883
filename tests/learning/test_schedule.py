"""Learning rates over a training: the factors, and that every optimizer uses them."""

from __future__ import annotations

import math

import pytest
import torch

from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.schedule import Schedule
from bioplaus.training.stacked_optimizer import StackedOptimizer

STEPS, EPOCHS = 10, 6


def factors(**how: object) -> list[float]:
    schedule = Schedule.model_validate(how)
    return [schedule.factor(step, STEPS, EPOCHS) for step in range(STEPS * EPOCHS)]


def test_cosine_is_half_at_half_time_and_symmetric_about_it() -> None:
    found = factors(kind="cosine")
    assert found[0] == 1 and found[30] == pytest.approx(0.5, abs=1e-15)
    assert found[20] == pytest.approx((1 + math.cos(math.pi / 3)) / 2)
    for a, b in zip(found[1:], found[:0:-1], strict=True):
        assert a + b == pytest.approx(1, abs=1e-12)


def test_linear_falls_by_equal_parts_and_step_at_its_epochs() -> None:
    found = factors(kind="linear")
    assert found == pytest.approx([1 - n / 60 for n in range(60)], abs=1e-15)
    found = factors(kind="step", gamma=0.5, every=2)
    assert found == [0.5 ** (epoch // 2) for epoch in range(EPOCHS) for _ in range(STEPS)]


def test_the_warm_up_ends_at_the_whole_rate_and_the_rest_follows_it() -> None:
    found = factors(kind="linear", warmup=2)
    assert found[:20] == pytest.approx([(n + 1) / 20 for n in range(20)], abs=1e-15)
    assert found[20:] == pytest.approx([1 - n / 40 for n in range(40)], abs=1e-15)
    assert factors(kind="constant", warmup=0.5)[4:] == [1.0] * 56
    longer = Schedule(kind="cosine", warmup=100)
    assert longer.factor(59, STEPS, EPOCHS) == 0.06, "longer than the training"


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "adam"},
        {"name": "adamw", "weight_decay": 0.1},
        {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01},
        {"name": "rmsprop", "momentum": 0.5},
    ],
)
def test_the_steps_are_those_of_torchs_scheduler(settings: dict[str, object]) -> None:
    """Against torch.optim with LambdaLR, one replica after the other, each at its own rate."""
    schedule = Schedule(kind="cosine", warmup=1)
    specs = [OptimizerSpec.model_validate({**settings, "lr": lr}) for lr in (1e-2, 3e-3)]
    torch.manual_seed(0)
    start = torch.randn(2, 4, 3, dtype=torch.float64)
    grads = torch.randn(30, 2, 4, 3, dtype=torch.float64)
    stacked = start.clone()
    ours = StackedOptimizer(specs, [stacked])
    for step, grad in enumerate(grads):
        ours.scale_rates(schedule.factor(step, 5, 6))
        ours.step([grad])
    for replica, spec in enumerate(specs):
        alone = torch.nn.Parameter(start[replica].clone())
        theirs = spec.build([alone], fused=False)
        plan = torch.optim.lr_scheduler.LambdaLR(theirs, lambda n: schedule.factor(n, 5, 6))
        for grad in grads:
            alone.grad = grad[replica]
            theirs.step()
            plan.step()
        torch.testing.assert_close(stacked[replica], alone.data, rtol=1e-12, atol=1e-12)
