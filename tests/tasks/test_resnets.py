"""The small ResNets of the task files: what they compute, and which rules train them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.tasks.task import read_task
from tests.helpers.networks import (
    EXACT,
    autograd_grads,
    random_batch,
    random_params,
    rel,
    run_rule,
    worst,
)

TASKS = {"mnist-resnet": ((1, 28, 28), 2), "cifar10-resnet": ((3, 32, 32), 1)}
"""The shape of an example, and the first convolution's stride."""
DEPTH = 15


def made(name: str, seed: int, count: int = 2) -> tuple[Network, Params, Batch]:
    net = read_task(name).build_network()
    return net, random_params(net, seed), random_batch(net, count, seed)


def resnet(params: Params, x: Tensor, stride: int) -> Tensor:
    """He et al.'s residual blocks by torch's functions; the last two halve height and width."""

    def conv(node: int, h: Tensor, step: int = 1, padding: int = 1) -> Tensor:
        return F.conv2d(h, params[f"{node}.weight"], params[f"{node}.bias"], step, padding)

    stem = torch.tanh(conv(1, x, stride))
    a = torch.tanh(stem + conv(3, torch.tanh(conv(2, stem))))
    b = torch.tanh(conv(7, a, 2, 0) + conv(6, torch.tanh(conv(5, a, 2))))
    c = torch.tanh(conv(11, b, 2, 0) + conv(10, torch.tanh(conv(9, b, 2))))
    return F.linear(c.mean((2, 3)), params["15.weight"], params["15.bias"])


@pytest.mark.parametrize("name", TASKS)
def test_the_task_is_the_resnet_it_says(name: str) -> None:
    shape, stride = TASKS[name]
    net, params, batch = made(name, 0)
    assert net.in_shape == shape and net.depth == DEPTH and net.classes == 10
    outputs = net.forward(params, batch.x)[-1].output
    assert rel(outputs, resnet(params, batch.x, stride)) < EXACT


@pytest.mark.parametrize("name", TASKS)
def test_rules_that_equal_backprop_on_chains_do_so_here(name: str) -> None:
    net, params, batch = made(name, 1)
    true = autograd_grads(net, params, batch)
    fixed = {"fixed_prediction": True, "steps": DEPTH - 1, "step_size": 1.0}
    for rule, options in (("backprop", {}), ("predictive-coding", fixed), ("z-il", {})):
        assert worst(run_rule(rule, net, params, batch, **options).grads, true) < EXACT, rule


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("rule", ["backprop", "predictive-coding-fixed", "feedback-alignment",
                                  "sign-symmetry"])  # fmt: skip
def test_a_step_of_each_rule_lowers_the_loss(name: str, rule: str) -> None:
    """Of the examples that it is taken on; feedback alignment learns the last layer at least."""
    net, params, batch = made(name, 2, count=4)
    update = run_rule(rule, net, params, batch)
    assert update.grads.keys() == params.keys()
    stepped = {n: p - 1e-3 * update.grads[n] for n, p in params.items()}
    before, after = (float(net.mean_loss(p, batch.x, batch.y)) for p in (params, stepped))
    assert after < before
    assert all(bool(g.any()) for n, g in update.grads.items() if n.endswith(".weight"))
