"""Checks with numbers in them: precision, device, cost, direction, and digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt

import torch
from torch import Tensor
from torch.func import grad
from torch.utils._pytree import tree_leaves, tree_map, tree_structure, tree_unflatten

from bioplaus.errors import UnsupportedError
from bioplaus.experiments.experiment import Experiment, choose_task
from bioplaus.learning.alignment import AlignmentProbe
from bioplaus.learning.batching import NoiseSource, Rule, stacked_initial, unstack
from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Params
from bioplaus.system.device import suitable_threads
from bioplaus.tasks.data_cache import load_data
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import Task, TaskData, read_task
from bioplaus.testing.cases import CPU, Case
from bioplaus.testing.check import check
from bioplaus.testing.comparing import distance
from bioplaus.testing.failures import Skip, require
from bioplaus.training.budget import Budget, budget, lesson
from bioplaus.training.groups import prepared
from bioplaus.training.operation_count import count
from bioplaus.training.progress import Splits
from bioplaus.training.recording import record
from bioplaus.training.trainer import Trainer

FLOAT32 = 1e-4
"""Relative tolerance between float32 and float64, on well-conditioned weights."""
DEVICES = 1e-9
"""Relative tolerance between devices, in float64."""
REPLICAS = 10
EPOCHS = 3


@check("precision", "float32 agrees with float64.", "default")
def precision(case: Case) -> str:
    largest = 0.0
    for seed in range(10):
        single, double = (
            case.update(case.inputs(seed, dtype)) for dtype in (torch.float32, torch.float64)
        )
        largest = max(largest, distance(single, double))
    require(
        largest <= FLOAT32,
        f"float32 and float64 differ by {largest:.1e} of the norm",
        "look for differences of nearly equal numbers, and steps too small for float32",
    )
    return f"to {largest:.0e}"


@check("device", "The GPU agrees with the CPU.", "configuration")
def device(case: Case) -> str:
    if not torch.cuda.is_available():
        raise Skip("torch sees no CUDA device here")
    given = case.inputs(0)
    there = tree_map(lambda tensor: tensor.cuda(), given)
    found = tree_map(lambda tensor: tensor.cpu(), case.update(there))
    far = distance(found, case.update(given))
    allowed = device_tolerance(case.rule.amplification(case.net))
    require(
        far <= allowed,
        f"CPU and GPU differ by {far:.1e} of the norm in float64, more than {allowed:.0e}",
        "make new tensors from those given (x.new_zeros, device=x.device)",
    )
    return f"to {far:.0e}"


def device_tolerance(amplification: float) -> float:
    """How far two devices may be apart: ten roundings, as often as the rule amplifies them."""
    return max(DEVICES, 10 * torch.finfo(torch.float64).eps * amplification)


@dataclass(frozen=True)
class Bench:
    """A digits task that the rule can train, ready."""

    task: Task
    data: TaskData
    splits: Splits


def task_to_try(name: str) -> Task:
    """A task by name or file, with its data at hand; what is wrong with either is raised."""
    task = read_task(name)
    load_data(task)
    return task


def digits_for(case: Case) -> Bench:
    """The task of the case, or the first digits task that the rule supports; Skip for none."""
    task = case.task
    if task is None:
        try:
            task = choose_task([case.rule])
        except UnsupportedError as error:
            raise Skip(str(error)) from None
    net = task.build_network()
    reason = case.rule.supports(net)
    if reason is not None:
        raise Skip(f"it cannot train on {task.name}: {reason}")
    data = load_data(task)
    splits = prepared(experiment_of(case.rule, task), data, CPU)
    return Bench(task, data, replace(splits, validation=None))


def experiment_of(rule: Rule, task: Task) -> Experiment:
    """The rule on the task, with the optimizers that it recommends."""
    optimizer = rule.optimizer_on(task.build_network()) or task.optimizer
    own = rule.aux_optimizer
    return Experiment(task, rule, optimizer, optimizer if own == "same" else own, "fp32", "")


def few_epochs(rule: Rule, task: Task) -> Budget:
    """The task's, with its schedule, pruning and lesson, in a few epochs."""
    return replace(budget(experiment_of(rule, task)), epochs=EPOCHS)


def _trainer(rule: Rule, bench: Bench, seeds: range) -> Trainer:
    spent = few_epochs(rule, bench.task)
    return Trainer(rule, bench.task.build_network(), bench.splits, spent, seeds)


def first_batch(bench: Bench) -> Batch:
    """The first examples of the training split as the task shows them, in float64."""
    size, shown = bench.task.batch_size, lesson(bench.task)
    train = bench.splits.train
    first = Split(train.x[:size].double(), train.y[:size])
    y = shown.targets(first, bench.task.build_network())
    noise = shown.drawn(first, size, [0], "noise").at(0)
    batch = shown.show(first.x[None], y[None], noise)
    return Batch(batch.x[0], batch.y[0])


@check("direction", "At the start, updates do not point against the gradient.", "default")
def direction(case: Case) -> str:
    """Angles between update and gradient, layer by layer, over ten seeds."""
    rule = case.rule
    bench = digits_for(case)
    net, batch = bench.task.build_network(), first_batch(bench)
    seeds = range(REPLICAS)
    params, state = stacked_initial(rule, net, seeds, torch.float64, CPU)
    probe = AlignmentProbe(rule, net, params, batch, seeds)
    with torch.no_grad(), suitable_threads(0):
        measured = probe.measure(params, state)
    reference = "objective" if "objective" in measured else "loss"
    cosines = {k: v for k, v in measured[reference].items() if k.startswith("cosine.")}
    top = list(cosines)[-1]
    hint = "updates are in gradient sign: the optimizer subtracts them. Turn the sign of the error"
    for name, values in cosines.items():
        mean, spread = float(values.mean()), float(values.std()) / sqrt(REPLICAS)
        wrong = mean < 0 if name == top else mean < -0.1 and mean < -5 * spread
        require(
            not wrong,
            f"layer {name.partition('.')[2]}'s update points against the gradient of the "
            f"{reference}: mean cosine {mean:.2f} over {REPLICAS} seeds, angle {_degrees(mean)}",
            hint,
        )
    angles = ", ".join(_degrees(float(values.mean())) for values in cosines.values())
    return f"{bench.task.name}: {angles} to the {reference}'s gradient, layer 1 up"


def _degrees(cosine: float) -> str:
    return f"{math.degrees(math.acos(max(-1.0, min(1.0, cosine)))):.0f}°"


@check("cost", "The work of an update against backprop's, counted.", "default")
def cost(case: Case) -> str:
    """Operations of the first step, in float32 as it runs; backprop's are autograd's."""
    rule = case.rule
    bench = digits_for(case)
    net = bench.task.build_network()
    x, y = (tensor.float() for tensor in first_batch(bench))
    params, state = (
        tree_map(lambda tensor: tensor[0], part)
        for part in stacked_initial(rule, net, [0], torch.float32, CPU)
    )
    noise = unstack(NoiseSource(rule.noise(net, len(x)), [0], torch.float32, CPU).at(0), 0)
    update = partial(rule.variant(0).update, net)
    ours = counted(update, params, State(*state), Batch(x, y), noise)

    def loss(p: Params) -> Tensor:
        return net.mean_loss(p, x, y)

    theirs = counted(grad(loss), params)
    return f"{bench.task.name}: {ours / theirs:.2g} times the operations of backprop"


def counted(work: Callable[..., object], *given: object) -> int:
    """Floating-point operations of the products, convolutions and solutions in it."""
    shape = tree_structure(given)

    def flat(*tensors: Tensor) -> list[Tensor]:
        return tree_leaves(work(*tree_unflatten(tensors, shape)))

    return count(record(flat, tree_leaves(given))).flops


@check("digits", "Trained on digits for a few epochs, the loss falls.", "default")
def digits(case: Case) -> str:
    rule = case.rule
    bench = digits_for(case)
    with suitable_threads(0):
        trainer = _trainer(rule, bench, range(2))
        outcomes = trainer.train()
    diverged = [o.diverged_epoch for o in outcomes if o.diverged_epoch is not None]
    require(
        not diverged,
        f"training on {bench.task.name} diverged in epoch {diverged[:1]}",
        "recommend another optimizer or a smaller learning rate in `optimizer`",
    )
    for outcome in outcomes:
        curve = [value for value in outcome.metrics["loss"] if value is not None]
        require(
            curve[-1] < curve[0],
            f"on {bench.task.name} the loss does not fall: {curve[0]:.4f} in the first epoch, "
            f"{curve[-1]:.4f} in epoch {len(curve)}",
            "is the sign right? Is the learning rate recommended in `optimizer` too small, or too "
            "large; are the units bounded?",
        )
    right = [o.test_accuracy[-1] or 0.0 for o in outcomes]
    mean = 100 * sum(right) / len(right)
    return f"{bench.task.name}: {mean:.1f} % of the test digits after {EPOCHS} epochs"


CHECKS = (precision, device, direction, cost, digits)
