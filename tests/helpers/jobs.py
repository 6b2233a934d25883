"""Jobs that do as they are told."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from bioplaus.benchmark.jobs import Job, Watch
from bioplaus.errors import ConfigError
from bioplaus.plugins import registry
from bioplaus.tasks import data_cache as job_data
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import TaskData, read_task
from bioplaus.training.progress import Progress


@dataclass(frozen=True)
class Told(Job[object]):
    """A job that does as it is told."""

    what: str
    file: str = ""
    """To be made when it hangs."""

    @property
    def title(self) -> str:
        return f"told to {self.what}"

    def run(self, watch: Watch) -> object:
        watch(Progress(1, 2, 1, 1, None, None))
        if self.what == "raise":
            raise ZeroDivisionError("planted")
        if self.what == "mistake":
            raise ConfigError("one clear line")
        if self.what == "fill the memory":
            raise MemoryError
        if self.what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "hang":
            print(os.getpid(), flush=True)
            if self.file:
                Path(self.file).touch()
            time.sleep(600)
        return os.getpid(), torch.get_num_threads(), sys.argv


def quiet(progress: Progress) -> None:
    """Takes no notice."""


@dataclass(frozen=True)
class Examples(Job[object]):
    """Says what data it finds, and whether they are its own to write on."""

    test: bool

    @property
    def title(self) -> str:
        return "examples"

    def need(self) -> job_data.Need:
        return job_data.Need.of(read_task("digits-square"), self.test)

    def run(self, watch: Watch) -> object:
        def unread(self: object, split: str) -> Split:
            raise AssertionError("the files were read")

        registry.load("dataset", "digits").load = unread
        data = job_data.load(self.need())
        test = data.test.checksum if isinstance(data, TaskData) else None
        return data.train.checksum, test, data.checksums, data.sizes()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
