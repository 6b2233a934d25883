"""The stacked optimizers are torch's, to the last bit, and go on from what they kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.training.cuda_graph import first_cause
from bioplaus.training.stacked_optimizer import StackedOptimizer

SPECS = [
    OptimizerSpec(name="adam", lr=0.01, betas=(0.8, 0.99)),
    OptimizerSpec(name="adam", lr=0.01, weight_decay=0.1),
    OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.1, eps=1e-3),
    OptimizerSpec(name="sgd", lr=0.1),
    OptimizerSpec(name="sgd", lr=0.1, momentum=0.9),
    OptimizerSpec(name="rmsprop", lr=0.01, momentum=0.5, alpha=0.9),
]
SHAPES = [(3, 4, 5), (3, 4)]
every = pytest.mark.parametrize("spec", SPECS, ids=str)


def drawn(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def by_torch(spec: OptimizerSpec, steps: int) -> list[Tensor]:
    tensors = drawn(0)
    optimizer = spec.build(tensors)
    for step in range(steps):
        for tensor, grad in zip(tensors, drawn(1 + step), strict=True):
            tensor.grad = grad
        optimizer.step()
    return tensors


@every
def test_its_steps_are_torchs(spec: OptimizerSpec) -> None:
    tensors = drawn(0)
    optimizer = StackedOptimizer([spec], tensors)
    for step in range(5):
        optimizer.step(drawn(1 + step))
    assert all(map(torch.equal, tensors, by_torch(spec, 5)))


@every
def test_replicas_with_rates_of_their_own_take_their_own_steps(spec: OptimizerSpec) -> None:
    specs = [spec, spec, spec.updated({"lr": 2 * spec.lr})]
    tensors = drawn(0)
    optimizer = StackedOptimizer(specs, tensors)
    for step in range(3):
        optimizer.step(drawn(1 + step))
    for replica, own in enumerate(specs):
        for ours, theirs in zip(tensors, by_torch(own, 3), strict=True):
            assert torch.allclose(ours[replica], theirs[replica], rtol=1e-6, atol=1e-7)


@every
def test_put_back_to_its_start_it_takes_the_same_steps_again(spec: OptimizerSpec) -> None:
    tensors = drawn(0)
    optimizer = StackedOptimizer([spec], tensors)
    start = {name: tensor.clone() for name, tensor in optimizer.snapshot().items()}
    for again in range(2):
        if again:
            optimizer.restore(start)
            for tensor, before in zip(tensors, drawn(0), strict=True):
                tensor.copy_(before)
        for step in range(3):
            optimizer.step(drawn(1 + step))
    assert all(map(torch.equal, tensors, by_torch(spec, 3)))


def test_of_errors_that_follow_from_each_other_the_first_is_told() -> None:
    """As when the end of a failed capture fails in turn."""
    with pytest.raises(RuntimeError) as found:
        try:
            raise RuntimeError("operation not permitted\nand a long story")
        finally:
            raise RuntimeError("failed due to a previous error")
    assert first_cause(found.value) == "operation not permitted"
