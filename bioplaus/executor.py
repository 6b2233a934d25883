"""Where jobs run: the contract of an executor, found through `bioplaus.executors`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from bioplaus.errors import BioplausError

if TYPE_CHECKING:
    from bioplaus.jobs import Job
    from bioplaus.trainer import Progress

R = TypeVar("R")


class JobError(BioplausError):
    """A job that failed: what it raised, or how its worker died."""


class Executor(ABC):
    """Runs jobs somewhere, several at a time, and hands back what they give.

    Jobs and their results pickle; an executor writes nothing and knows no rule or task.
    Whatever goes wrong with a job is the JobError of its future and of no other: a worker
    that dies takes one job with it. Workers end when the process that made them ends.
    """

    name: ClassVar[str]

    def __init__(self, slots: int) -> None:
        self.slots = slots
        """How many jobs run at a time."""

    @abstractmethod
    def submit(self, job: Job[R], watch: Callable[[Progress], None]) -> Future[R]:
        """Run it as soon as a slot is free, first come first served.

        `watch` may be called from any thread, a few times a second, with where the job stands.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop everything at once; what is running is lost. May be called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
