"""What a worker does with a job, wherever it is: run it, tell how far it is, and what came out."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bioplaus.errors import BioplausError

if TYPE_CHECKING:
    from bioplaus.benchmark.jobs import Job
    from bioplaus.training.progress import Progress

Kind = Literal["done", "failed", "lost"]


@dataclass(frozen=True)
class Origin:
    """Where a job was handed out."""

    folder: str
    arguments: Sequence[str]

    def resemble(self) -> None:
        """Be there, where that folder is here too; the command goes into provenances."""
        os.chdir(self.folder if os.path.isdir(self.folder) else tempfile.gettempdir())
        sys.argv[:] = self.arguments


def outcome(job: Job[object], watch: Callable[[Progress], None]) -> tuple[Kind, object]:
    """What the job gives, or why it failed; never raises.

    Too little memory in this process says nothing on the job: "lost", as if it had died.
    """
    try:
        return "done", job.run(watch)
    except Exception as error:  # the other jobs go on
        if _out_of_memory(error):
            return "lost", f"{job.title}: its worker ran out of memory"
        return "failed", _reason(job, error)


def _reason(job: Job[object], error: Exception) -> str:
    if isinstance(error, BioplausError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"line {where.lineno} of {os.path.basename(where.filename)}"
    return f"{job.title}: {type(error).__name__}: {error} ({place})"


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether the host had no memory left: Python's error, or that of torch's allocator."""
    while error is not None:
        if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
            return True
        error = error.__cause__
    return False


def use_one_thread() -> None:
    """As every worker does: results depend on the number of threads in their last bits."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


class News:
    """Sends progress on, but not more often than anybody can read it."""

    def __init__(self, send: Callable[[Progress], object], every_seconds: float) -> None:
        self._send, self._every = send, every_seconds
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._every
            self._send(progress)
