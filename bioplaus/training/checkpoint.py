"""Checkpoints of a training that runs, so that whatever stops it costs little.

A checkpoint is a flat dictionary of tensors and nothing else: read with `weights_only=True`,
it cannot run code. Each file begins with a checksum of the rest, so that a damaged one is
known; the one before it is still there. Which training a checkpoint belongs to is its name:
a digest of all that decides the bits of the result.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from bioplaus.records.keys import digest

PREFIX = ".checkpoint-"
SHARE = 0.05
"""Of the time, at most, to be spent on writing checkpoints."""
WITHIN_EPOCH_SECONDS = 60.0
"""Between checkpoints in the middle of an epoch; at the end of one there is no such wait."""
_CHECKSUM_BYTES = 32

Tensors = dict[str, Tensor]
T = TypeVar("T")


class Checkpoints:
    """The last two checkpoints of one training, in a folder.

    Only one process at a time may train it; two would lose checkpoints, but no results.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        """identity: all that decides the result to the last bit, as JSON has it."""
        self._folder = folder
        self._stem = f"{PREFIX}{digest(identity)[:24]}"
        self._temporary = folder / f"{self._stem}.writing"
        self._last = time.monotonic()
        self._wait = 0.0
        self.problem = ""
        """Why the last checkpoint could not be written, if it could not."""

    def due(self, epoch_ended: bool) -> bool:
        """Whether to write one now."""
        passed = time.monotonic() - self._last
        return passed >= (self._wait if epoch_ended else max(self._wait, WITHIN_EPOCH_SECONDS))

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Write one, and remove all but the one before it; what goes wrong is a `problem`.

        tensors: with an integer `step`, larger than in those before.
        """
        start = time.monotonic()
        try:
            self._write(tensors)
            for old in self._files()[2:]:
                old.unlink(missing_ok=True)
            self.problem = ""
        except OSError as error:
            self._temporary.unlink(missing_ok=True)
            self.problem = f"no checkpoint could be written to {self._folder}: {error.strerror}"
        self._last = time.monotonic()
        self._wait = (self._last - start) / SHARE

    def _write(self, tensors: Mapping[str, Tensor]) -> None:
        buffer = io.BytesIO()
        torch.save({name: _apart(tensor) for name, tensor in tensors.items()}, buffer)
        content = buffer.getbuffer()
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._temporary, "wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        number = int(tensors["step"])
        os.replace(self._temporary, self._folder / f"{self._stem}-{number:012d}.pt")

    def latest(self) -> Tensors | None:
        """The last sound one; those that are damaged are removed. None where there is none."""
        for path in self._files():
            tensors = read(path)
            if tensors is not None:
                return tensors
            path.unlink(missing_ok=True)
        return None

    def _files(self) -> list[Path]:
        """The last one first."""
        return sorted(self._folder.glob(f"{self._stem}-*.pt"), reverse=True)


def part_of(tensors: Mapping[str, T], prefix: str) -> dict[str, T]:
    """Those whose names begin so, by what follows."""
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints of a folder: what they were for is kept."""
    for path in folder.glob(f"{PREFIX}*"):
        path.unlink(missing_ok=True)


def read(path: Path) -> Tensors | None:
    """The tensors of a checkpoint, on the CPU; None where there is none, or a damaged one."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, rest = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if hashlib.sha256(rest).digest() != checksum:
        return None
    try:
        loaded = torch.load(io.BytesIO(rest), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):  # somebody else's work
        return None
    tensors = isinstance(loaded, dict) and all(isinstance(t, Tensor) for t in loaded.values())
    return loaded if tensors and "step" in loaded else None


def _apart(tensor: Tensor) -> Tensor:
    """On the CPU and without what its storage holds besides, which torch would save too."""
    here = tensor.detach().cpu()
    return here if here.untyped_storage().nbytes() == here.nbytes else here.clone()
