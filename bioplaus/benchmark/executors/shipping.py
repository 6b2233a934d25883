"""Data sets as plain arrays, which processes of one machine can share without a copy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import TaskData, TrainingData


@dataclass(frozen=True)
class _Array:
    """A tensor's bytes, its dtype's name and its shape."""

    content: NDArray[np.uint8]
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Split:
    x: _Array
    y: _Array


@dataclass(frozen=True)
class PackedTraining:
    """TrainingData as arrays."""

    train: _Split
    validation: _Split | None
    checksum: str
    scale: float
    classes: int


@dataclass(frozen=True)
class PackedTest:
    """A test split as arrays: apart, so that who must not see it never has it."""

    test: _Split
    checksum: str


def pack_training(data: TrainingData) -> PackedTraining:
    """All but a test split."""
    validation = None if data.validation is None else _packed_split(data.validation)
    checksum = data.checksums["train"]
    return PackedTraining(_packed_split(data.train), validation, checksum, data.scale, data.classes)


def pack_test(data: TaskData) -> PackedTest:
    """The test split alone."""
    return PackedTest(_packed_split(data.test), data.checksums["test"])


def unpack(training: PackedTraining, test: PackedTest | None) -> TrainingData:
    """The data again, TaskData with a test split; their tensors are views of the arrays.

    The arrays may be read-only, so nothing may be written to the tensors.
    """
    train = _split(training.train)
    validation = None if training.validation is None else _split(training.validation)
    checksums = {"train": training.checksum}
    if test is None:
        return TrainingData(train, validation, checksums, training.scale, training.classes)
    checksums["test"] = test.checksum
    return TaskData(
        train, validation, checksums, training.scale, training.classes, _split(test.test)
    )


def _packed_split(split: Split) -> _Split:
    return _Split(_packed(split.x), _packed(split.y))


def _packed(tensor: Tensor) -> _Array:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    name = str(tensor.dtype).removeprefix("torch.")
    return _Array(flat.view(torch.uint8).numpy(), name, tuple(tensor.shape))


def _split(packed: _Split) -> Split:
    return Split(_tensor(packed.x), _tensor(packed.y))


def _tensor(array: _Array) -> Tensor:
    dtype: torch.dtype = getattr(torch, array.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.frombuffer(array.content, dtype=dtype).reshape(array.shape)
