"""How much of a GPU's memory a job takes, found out on a machine that may have none."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import torch

from bioplaus.experiments.experiment import Experiment
from bioplaus.system.device import PRECISIONS
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import TaskData, TrainingData, prepare
from bioplaus.training.memory import generous_bytes, replica_bytes

CONTEXT_BYTES = 2**30
"""Of a process on a GPU before it trains, libraries and a chunk of an evaluation included."""
_NOT_WORTH_COUNTING = 2**28


def gpu_bytes(experiment: Experiment, data: TrainingData, replicas: int) -> int:
    """All that training these replicas together holds at a time, an upper bound.

    A replica's step is counted where a generous guess would claim much; rules that are not
    traced are not counted.
    """
    guess = generous_bytes(experiment)
    if replicas * guess < _NOT_WORTH_COUNTING:
        replica = guess
    else:
        replica = _counted(_Key(experiment), data.train.x.dtype) or guess
    return CONTEXT_BYTES + _data_bytes(experiment, data) + replicas * replica


def _data_bytes(experiment: Experiment, data: TrainingData) -> int:
    """Of the examples as a network reads them, on the device."""
    itemsize = PRECISIONS[experiment.precision].itemsize
    splits = [data.train, data.validation, data.test if isinstance(data, TaskData) else None]
    return sum(s.x.numel() * itemsize + s.y.nbytes for s in splits if s is not None)


class _Key:
    """An experiment, equal to those that take as much memory."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        task = experiment.task.model_dump_json(exclude={"name", "description", "epochs"})
        options = experiment.rule.config.model_dump_json()
        self._text = f"{experiment.rule.name} {options} {experiment.precision} {task}"

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._text == other._text


@lru_cache(maxsize=256)
def _counted(key: _Key, stored: torch.dtype) -> int | None:
    """What a replica's step holds, from one taken on the CPU; None where it is not traced."""
    experiment = key.experiment
    size, shape = experiment.task.batch_size, experiment.network.in_shape
    blank = Split(torch.zeros(size, prod(shape), dtype=stored), torch.zeros(size, dtype=torch.long))
    dtype = PRECISIONS[experiment.precision]
    return replica_bytes(experiment, prepare(blank, shape, 1.0, dtype, torch.device("cpu")))
