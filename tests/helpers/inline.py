"""An executor without processes, for the tests of what uses one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import ClassVar, TypeVar

from bioplaus.benchmark.executor import Executor, JobError
from bioplaus.benchmark.jobs import Job
from bioplaus.errors import BioplausError
from bioplaus.training.progress import Progress

R = TypeVar("R")


class InlineExecutor(Executor):
    """Runs a job when it is submitted, in this process."""

    name: ClassVar[str] = "inline"

    def __init__(self, slots: int = 1) -> None:
        super().__init__(slots)
        self.jobs: list[Job[object]] = []

    def submit(self, job: Job[R], watch: Callable[[Progress], None]) -> Future[R]:
        self.jobs.append(job)
        future: Future[R] = Future()
        try:
            future.set_result(job.run(watch))
        except BioplausError as error:
            future.set_exception(JobError(str(error)))
        return future

    def close(self) -> None:
        pass
