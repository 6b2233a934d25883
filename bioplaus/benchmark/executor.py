"""Where jobs run: the contract of an executor, found through `bioplaus.executors`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from bioplaus.errors import BioplausError, ConfigError

if TYPE_CHECKING:
    from bioplaus.benchmark.jobs import Job
    from bioplaus.training.progress import Progress

R = TypeVar("R")

STALL_SECONDS = 1800
"""Without a sign of progress for so long, a worker is taken to hang: compiling a step, or
evaluating on a large data set, takes minutes at most."""


class JobError(BioplausError):
    """A job that failed: what it raised, or how its worker was lost."""


class WorkerLost(JobError):
    """The worker died, hung, ran out of memory or was taken away: the job may do elsewhere.

    Another JobError would be raised again by whoever ran the job.
    """


def settle(future: Future[Any], kind: str, content: Any) -> None:
    """A job's future by its outcome, of `executors.work`: "done", "failed" or "lost"."""
    if kind == "done":
        future.set_result(content)
    else:
        future.set_exception((WorkerLost if kind == "lost" else JobError)(content))


@dataclass(frozen=True)
class Setup:
    """What a user says on where jobs run."""

    jobs: int = 0
    """How many at a time; 0 for as many as there is room for."""
    device: str = "auto"
    timeout: float | None = STALL_SECONDS
    """Seconds without a sign of progress after which a worker is lost; None for no limit."""
    address: str | None = None
    """Of a cluster, where there is one."""


class Executor(ABC):
    """Runs jobs somewhere, several at a time, and hands back what they give.

    Jobs and their results pickle; an executor writes nothing and knows no rule or task.
    Whatever goes wrong with a job is the JobError of its future and of no other: a worker
    that is lost takes one job with it. Workers end when the process that made them ends.
    """

    name: ClassVar[str]

    def __init__(self, slots: int, device: str = "cpu") -> None:
        self.slots = slots
        """How many jobs run at a time."""
        self.device = device
        """The device that jobs are to name."""

    @classmethod
    def open(cls, setup: Setup) -> Self:
        """As a user asks for it; ConfigError for what it cannot do."""
        slots, device = room_here(cls.name, setup)
        return cls(slots, device)

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


def room_here(executor: str, setup: Setup) -> tuple[int, str]:
    """Slots and device of an executor that stays on this machine: a job a core, one on a GPU.

    ConfigError where a cluster is named, and for a device that is not here.
    """
    if setup.address is not None:
        raise ConfigError(
            f"--address names a Ray cluster, and --executor is {executor}; add --executor ray"
        )
    from bioplaus.system.device import resolve_device
    from bioplaus.system.processes import usable_cores

    device = resolve_device(setup.device)
    return setup.jobs or (usable_cores() if device.type == "cpu" else 1), str(device)
