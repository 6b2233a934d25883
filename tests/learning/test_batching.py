"""Replicas together: what each gets alone, in about the same time."""

from __future__ import annotations

import statistics
import time
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx

from bioplaus.learning.batching import batched_update, stack, stacked_initial
from bioplaus.learning.gradients import batched_loss_grad
from bioplaus.learning.rule import Batch, State
from bioplaus.network.pooling import MaxPool2d
from bioplaus.tasks.task import read_task
from tests.helpers.images import lenet
from tests.helpers.networks import EXACT, autograd_grads, get_rule, noise_for, random_batch, worst

RULES = {"backprop": {}, "feedback-alignment": {}, "predictive-coding": {"steps": 3}}


@pytest.mark.parametrize("examples", [5, 600], ids=["together", "one by one"])
@pytest.mark.parametrize("name", RULES)
def test_replicas_together_equal_each_alone_and_the_step_can_be_traced(
    name: str, examples: int
) -> None:
    """Few examples, and so many that a replica's activities fill the caches."""
    net = lenet("cross_entropy", "linear", MaxPool2d, 0)
    rule = get_rule(name, **RULES[name])
    seeds = [0, 1, 2]
    params, state = stacked_initial(rule, net, seeds, torch.float64, torch.device("cpu"))
    batches = [random_batch(net, examples, seed) for seed in seeds]
    batch = Batch(torch.stack([b.x for b in batches]), torch.stack([b.y for b in batches]))
    noise = stack([noise_for(rule, net, b) for b in batches])
    step = batched_update(rule, net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        update = step(params, state, batch, noise)
        true = batched_loss_grad(net)(params, batches[0])
    for r in seeds:
        mine = {k: v[r] for k, v in params.items()}
        alone = State({}, {k: v[r] for k, v in state.memory.items()})
        expected = rule.update(net, mine, alone, batches[r], {})
        assert worst({k: v[r] for k, v in update.grads.items()}, expected.grads) <= EXACT
        gradient = autograd_grads(net, mine, batches[0])
        assert worst({k: v[r] for k, v in true.items()}, gradient) <= EXACT
    traced = make_fx(lambda p, m, x, y: step(p, State({}, m), Batch(x, y), noise).grads)(
        params, state.memory, *batch
    )
    again = traced(params, state.memory, *batch)
    assert all(torch.equal(again[k], update.grads[k]) for k in update.grads)


def test_four_seeds_take_at_most_4_2_times_one() -> None:
    """Interleaved steps of mnist-conv on one thread, in processor time: others may run too."""
    net = read_task("mnist-conv").build_network()
    rule = get_rule("backprop")
    step = batched_update(rule, net)
    arguments = {}
    for count in (1, 4):
        params, state = stacked_initial(rule, net, range(count), torch.float32, torch.device("cpu"))
        x = torch.rand(count, 128, *net.in_shape)
        y = F.one_hot(torch.arange(128) % 10, 10).float().expand(count, 128, 10)
        arguments[count] = (params, state, Batch(x, y), {})
    ratios = []
    for _ in range(6):
        seconds: dict[int, list[float]] = {1: [], 4: []}
        for _ in range(8):
            for count, given in arguments.items():
                start = time.process_time()
                with torch.no_grad():
                    step(*given)
                seconds[count].append(time.process_time() - start)
        ratios.append(statistics.median(seconds[4]) / statistics.median(seconds[1]))
        if ratios[-1] <= 4.2:
            return
    pytest.fail(f"four seeds take {', '.join(f'{r:.2f}' for r in ratios)} times one")
