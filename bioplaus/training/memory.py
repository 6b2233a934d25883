"""How much memory a step takes, and how many replicas the free memory holds."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from math import prod

import psutil
import torch
from torch import Tensor

from bioplaus.experiments.experiment import Experiment
from bioplaus.system.device import PRECISIONS
from bioplaus.tasks.dataset import Split
from bioplaus.training.budget import budget, lesson
from bioplaus.training.stepper import Stepper

_SHARE = 0.8
"""Of the free memory, to be filled by one group of seeds."""


def fitting(experiment: Experiment, train: Split, wanted: int) -> int:
    """How many replicas the free memory of the data's device holds, at least one."""
    free = _SHARE * free_memory(train.x.device)
    if wanted * generous_bytes(experiment) < free:
        return wanted
    replica = replica_bytes(experiment, train)
    return wanted if replica is None else max(1, min(wanted, int(free // replica)))


def replica_bytes(experiment: Experiment, train: Split) -> int | None:
    """What one replica holds beside the data, counted from a step; None where not traced."""
    rule = experiment.rule.watched()
    stepper = Stepper(rule, experiment.network, train, budget(experiment), [0], compile="off")
    index = torch.arange(experiment.task.batch_size, device=train.x.device)[None]
    with torch.no_grad():
        stepper.step(index, 0, None)
    peak = peak_bytes(stepper)
    return None if peak is None else peak - train.x.nbytes


def generous_bytes(experiment: Experiment) -> int:
    """More bytes than a replica of all but the most extravagant rules needs."""
    task = experiment.task
    rows = lesson(task).rows(task.batch_size)
    network, itemsize = experiment.network, PRECISIONS[experiment.precision].itemsize
    units = sum(prod(layer.out_shape) for layer in network.layers) + prod(network.in_shape)
    weights = sum(layer.multiply_adds() for layer in network.layers)  # no fewer than there are
    return itemsize * (30 * weights + 100 * rows * units)


def free_memory(device: torch.device) -> int:
    """Bytes that may be had on the device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def peak_bytes(stepper: Stepper, others: Iterable[Tensor] = ()) -> int | None:
    """What lasts between steps, others with it, and the most that a step holds besides: counted."""
    most = stepper.work.peak_bytes
    if most is None:
        return None
    lasting = {t.untyped_storage().data_ptr(): t.nbytes for t in (*stepper.tensors(), *others)}
    return sum(lasting.values()) + most


def restart_peak(device: torch.device) -> None:
    """From now on a GPU's peak is that of what is alive now and of what comes.

    What earlier trainings left in reference cycles, data and captured steps, is freed first.
    """
    if device.type == "cuda":
        gc.collect()
        torch.cuda.reset_peak_memory_stats(device)


def is_full(error: Exception) -> bool:
    """Whether this is what torch or Python raises where memory runs out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
