"""GAIT-prop's fast paths: the refined inverse, and the regulariser now and then."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from bioplaus.learning.batching import batched_update
from bioplaus.learning.rule import State
from bioplaus.tasks.task import prepare, read_task
from bioplaus.training.budget import Budget
from bioplaus.training.progress import Splits
from bioplaus.training.trainer import Trainer
from tests.helpers.networks import get_rule, make_network, random_batch, random_params

LEAKY = "leaky_relu(0.1)"


@pytest.mark.parametrize("ortho", [0.1, 0.0])
@pytest.mark.parametrize("rule", ["gaitprop", "itp"])
def test_the_refined_update_stays_within_1e_3_of_the_exact_one_along_a_training_run(
    rule: str, ortho: float
) -> None:
    """A real run in float32: every 20 steps, the update by refinement against that by LU."""
    assert worst_refined_error("digits-square", rule, ortho, steps=400, every=20) <= 1e-3


def test_the_refined_update_stays_within_1e_3_on_mnist(real_data: Path) -> None:
    """Over the first steps, when the weights move fastest."""
    assert worst_refined_error("mnist-square", "gaitprop", 0.1, steps=24, every=4) <= 1e-3


def worst_refined_error(task_name: str, rule: str, ortho: float, steps: int, every: int) -> float:
    """The largest relative difference of any weight's gradient on the way."""
    task = read_task(task_name)
    data, net = task.load_data(), task.build_network()
    train = prepare(data.train, net.in_shape, data.scale, torch.float32, torch.device("cpu"))
    refined = get_rule(rule, ortho=ortho)
    optimizer = refined.optimizer or task.optimizer
    trainer = Trainer(
        refined,
        net,
        Splits(train, None, None),
        Budget(task.batch_size, 1000, optimizer, None),
        [0],
    )
    updates = [
        batched_update(r, net) for r in (refined, get_rule(rule, ortho=ortho, inverse="exact"))
    ]
    errors = []
    with torch.no_grad():
        epochs = (trainer.batches(epoch) for epoch in itertools.count(1))
        for number, index in zip(range(steps), itertools.chain.from_iterable(epochs), strict=False):
            if number % every == 0:
                given = trainer.params, trainer.state, trainer.stepper.gather(index), {}
                ours, exact = (update(*given).grads for update in updates)
                errors += [float((ours[k] - exact[k]).norm() / exact[k].norm()) for k in exact]
            trainer.stepper.step(index, number, None)
    return max(errors)


def test_between_two_uses_of_the_regulariser_there_is_none() -> None:
    rule = get_rule("gaitprop", ortho=0.1, ortho_every=3)
    assert [rule.variant(step) is rule for step in range(7)] == [True, False, False] * 2 + [True]
    assert rule.variant(1) is rule.variant(2)
    net = make_network([6] * 4, LEAKY, "mse")
    params, batch = random_params(net, 0), random_batch(net, 5, 0)
    used, between, plain = (
        r.update(net, params, State({}, {}), batch, {})
        for r in (rule, rule.variant(1), get_rule("gaitprop", ortho=0.1))
    )
    assert between.penalty == {}
    for name, tensor in plain.penalty.items():
        assert torch.allclose(used.penalty[name], 3 * tensor, rtol=1e-14)
    for name, tensor in plain.grads.items():
        assert torch.equal(used.grads[name], tensor)
        assert torch.allclose(between.grads[name], tensor, rtol=1e-12)
