"""How training runs: where, how many seeds at once, compiled or not. No result hangs on it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import psutil
import torch

from bioplaus.errors import BioplausError
from bioplaus.experiments.experiment import Experiment
from bioplaus.plugins import registry
from bioplaus.records.schema import Cost
from bioplaus.system.device import PRECISIONS, provenance
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import TrainingData
from bioplaus.training.checkpoint import Checkpoints
from bioplaus.training.stepper import Budget, Compile, Stepper
from bioplaus.training.trainer import Trainer

_SHARE = 0.8
"""Of the free memory, to be filled by one group of seeds."""


@dataclass(frozen=True)
class Execution:
    """What may change without changing a result beyond rounding."""

    device: torch.device
    compile: Compile = "auto"
    max_replicas: int | None = None
    """Seeds that train together at most; None for as many as the memory holds."""
    checkpoints: Path | None = None
    """A folder for what a stopped training goes on from; None for no checkpoints."""


def groups(
    experiment: Experiment, train: Split, seeds: Sequence[int], execution: Execution
) -> list[list[int]]:
    """The seeds in groups of about one size, none larger than what may train together."""
    most = execution.max_replicas or fitting(experiment, train, len(seeds), execution)
    return evenly(seeds, most)


def evenly(seeds: Sequence[int], most: int) -> list[list[int]]:
    """The seeds in as few groups of at most so many as will do, of about one size."""
    number = -(-len(seeds) // most)
    size, larger = divmod(len(seeds), max(1, number))
    starts = [i * size + min(i, larger) for i in range(number + 1)]
    return [list(seeds[a:b]) for a, b in itertools.pairwise(starts)]


def fitting(experiment: Experiment, train: Split, wanted: int, execution: Execution) -> int:
    """How many replicas the free memory holds, at least one."""
    free = _SHARE * free_memory(execution.device)
    if wanted * generous_bytes(experiment) < free:
        return wanted
    stepper = Stepper(
        experiment.rule, experiment.network, train, budget(experiment), [0], compile="off"
    )
    index = torch.arange(experiment.task.batch_size, device=train.x.device)[None]
    with torch.no_grad():
        stepper.step(index, 0, None)
    peak = peak_bytes(stepper)
    if peak is None:  # not traced, so not counted
        return wanted
    return max(1, min(wanted, int(free // (peak - train.x.nbytes))))


def checkpoints(
    execution: Execution,
    experiments: Sequence[Experiment],
    data: TrainingData,
    seeds: Sequence[int],
    first: int = 0,
) -> Checkpoints | None:
    """Of replicas with these seeds, training together on the threads that torch has now.

    first: the number of the first of them, where the experiments' replicas are several groups.
    """
    if execution.checkpoints is None:
        return None
    identity = {
        "configurations": [experiment.configuration(data) for experiment in experiments],
        "provenance": provenance(execution.device, torch.get_num_threads(), seeds) | {"command": 0},
        "compile": execution.compile,
        "first": first,
        "rule": [registry.find("rule", e.rule.name).origin() for e in experiments],
        "evaluated": sorted(data.sizes()),
    }
    return Checkpoints(execution.checkpoints, identity)


def halved(error: Exception, size: int, experiment: Experiment) -> str:
    """A note that a group of so many did not fit into memory; any other error is raised again.

    BioplausError where a single replica does not fit.
    """
    full = isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
    if not full:
        raise error
    what = f"{experiment.rule.name} on {experiment.task.name}"
    if size == 1:
        raise BioplausError(
            f"{what} does not fit into memory, even with one seed at a time; a smaller batch may: "
            f"--set task.batch_size={max(1, experiment.task.batch_size // 2)}"
        ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return f"{what}: {size} seeds together did not fit into memory, so they trained in two groups"


def generous_bytes(experiment: Experiment) -> int:
    """More bytes than a replica of all but the most extravagant rules needs."""
    network, itemsize = experiment.network, PRECISIONS[experiment.precision].itemsize
    units = sum(prod(layer.out_shape) for layer in network.layers) + prod(network.in_shape)
    weights = sum(layer.multiply_adds() for layer in network.layers)  # no fewer than there are
    return itemsize * (30 * weights + 100 * experiment.task.batch_size * units)


def free_memory(device: torch.device) -> int:
    """Bytes that may be had on the device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def budget(experiment: Experiment) -> Budget:
    """The experiment's, for a trainer."""
    task = experiment.task
    return Budget(task.batch_size, task.epochs, experiment.optimizer, experiment.aux_optimizer)


def peak_bytes(stepper: Stepper) -> int | None:
    """What lasts between steps, and the most that a step holds besides, as counted."""
    most = stepper.work.peak_bytes
    if most is None:
        return None
    lasting = {t.untyped_storage().data_ptr(): t.nbytes for t in stepper.tensors()}
    return sum(lasting.values()) + most


def step_flops(stepper: Stepper) -> int | None:
    """Of one replica's step, the mean over the steps so far; None where some are not traced."""
    work = stepper.work
    return None if work.flops is None else work.flops // (len(stepper.seeds) * work.steps)


def cost(trainer: Trainer) -> Cost:
    """What the training that is over took."""
    flops = step_flops(trainer.stepper)
    batch = trainer.budget.batch_size
    forward = 2 * batch * sum(layer.multiply_adds() for layer in trainer.net.layers)
    on_cuda = trainer.device.type == "cuda"
    if on_cuda:
        peak: int | None = torch.cuda.max_memory_allocated(trainer.device)
    else:
        peak = peak_bytes(trainer.stepper)
    return Cost(
        forward_equivalents=None if flops is None else flops / forward,
        step_flops=flops,
        peak_bytes=peak,
        peak_measured=on_cuda,
    )
