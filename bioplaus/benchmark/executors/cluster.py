"""What executors of clusters share: jobs that wait and run, and one thread for the cluster."""

from __future__ import annotations

import contextlib
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from bioplaus.benchmark.executor import Executor, WorkerLost
from bioplaus.errors import BioplausError

if TYPE_CHECKING:
    from bioplaus.benchmark.jobs import Job
    from bioplaus.training.progress import Progress

R = TypeVar("R")


@dataclass
class Ticket:
    """A job that was submitted. Executors add what they know of it."""

    number: int
    job: Job[Any]
    watch: Callable[[Progress], None]
    future: Future[Any]


T = TypeVar("T", bound=Ticket)


class ClusterExecutor(Executor, Generic[T]):
    """One thread, and no other, talks to the cluster: it calls `turn` until the end.

    A subclass calls `start` when it is ready, and keeps in `running` the tickets of what it has
    handed over, by the cluster's own name for it.
    """

    ticket: type[T]
    trouble: ClassVar[str]
    """What a user reads where the cluster itself fails."""

    def __init__(self, slots: int, device: str, timeout: float | None) -> None:
        super().__init__(slots, device)
        self.timeout = timeout
        self.running: dict[Any, T] = {}
        self.over = threading.Event()
        """Set where nothing more is to be handed over."""
        self._lock = threading.Lock()
        self._broken: BioplausError | None = None
        self._count = 0
        self._waiting: deque[T] = deque()
        self._unfinished: dict[int, T] = {}
        """Whoever waits for one of these is told in the end, wherever its ticket has got to."""
        self._thread = threading.Thread(
            target=self._work, name=f"bioplaus-{self.name}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    @abstractmethod
    def turn(self) -> None:
        """Hand over what has a slot, and tell what has come back; a second or so, not at once."""

    @abstractmethod
    def cancel(self, reference: Any) -> None:
        """End a job that runs; it may have ended meanwhile, and the cluster be gone."""

    @abstractmethod
    def release(self) -> None:
        """Give back what the executor itself holds of the cluster, after its last job."""

    def submit(self, job: Job[R], watch: Callable[[Progress], None]) -> Future[R]:
        future: Future[R] = Future()
        with self._lock:
            if self._broken is not None:
                future.set_exception(self._broken)
                return future
            if self.over.is_set():
                future.cancel()
                return future
            self._count += 1
            ticket = self.ticket(self._count, job, watch, future)
            self._unfinished[ticket.number] = ticket
            self._waiting.append(ticket)
        future.add_done_callback(lambda _: self._unfinished.pop(ticket.number, None))
        return future

    def close(self) -> None:
        with self._lock:
            if self.over.is_set():
                return
            self.over.set()
            while self._waiting:
                self._waiting.popleft().future.cancel()
        self._thread.join()
        for reference in list(self.running):
            self.lose(reference, "stopped")
        self._tell_all(lambda ticket: WorkerLost(f"{ticket.job.title}: stopped"))
        self.release()

    def next(self) -> T | None:
        """The next job that has a slot, told to be running; None for none."""
        while len(self.running) < self.slots and not self.over.is_set():
            with self._lock:
                if not self._waiting:
                    return None
                ticket = self._waiting.popleft()
            if ticket.future.set_running_or_notify_cancel():
                return ticket
        return None

    def lose(self, reference: Any, why: str) -> None:
        """End a job that runs, and say why."""
        ticket = self.running.pop(reference)
        self._end(reference)
        ticket.future.set_exception(WorkerLost(f"{ticket.job.title}: {why}"))

    def lose_silent(self, reference: Any) -> None:
        self.lose(reference, f"no progress for {self.timeout:g} s, so its worker was ended")

    def _work(self) -> None:
        try:
            while not self.over.is_set():
                self.turn()
        except Exception as error:  # nobody else would tell whoever waits for a job
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._give_up(BioplausError(f"{self.trouble}: {reason}"))

    def _give_up(self, error: BioplausError) -> None:
        with self._lock:
            self._broken = error
            self._waiting.clear()
        self._tell_all(lambda _: error)
        for reference in self.running:
            self._end(reference)
        self.running.clear()

    def _tell_all(self, error: Callable[[T], BioplausError]) -> None:
        for ticket in list(self._unfinished.values()):
            if not ticket.future.done():
                ticket.future.set_exception(error(ticket))

    def _end(self, reference: Any) -> None:
        with contextlib.suppress(Exception):
            self.cancel(reference)
