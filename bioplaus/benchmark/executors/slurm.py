"""Jobs on a Slurm cluster, handed over as job arrays by submitit.

Whatever waits is one array; results come back through a folder that all nodes share, and the
process that was started alone writes records. Nothing is queued again by Slurm: what is lost is
told as such, and tried again by who handed it out, who keeps count.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from bioplaus.benchmark.executor import STALL_SECONDS, Executor, JobError, Setup, WorkerLost, settle
from bioplaus.benchmark.executors.slurm_worker import perform
from bioplaus.benchmark.executors.work import Origin
from bioplaus.errors import BioplausError, ConfigError

if TYPE_CHECKING:
    from bioplaus.benchmark.jobs import Job
    from bioplaus.training.progress import Progress

R = TypeVar("R")

MOST = 100
"""Jobs in the queue at a time, where --jobs says nothing."""
MINUTES = 24 * 60
"""Time limit of a job, where SBATCH_TIMELIMIT says nothing."""
_TICK_SECONDS = 1.0
_ASK_SECONDS = 30.0
"""Between questions to Slurm itself: many users ask it."""
_LOST_AFTER = 2
"""Answers in a row that a job has ended and left nothing: a file may come late."""


@dataclass
class _Ticket:
    """A job that was submitted."""

    number: int
    job: Job[Any]
    watch: Callable[[Progress], None]
    future: Future[Any]
    news: Path
    told: str = ""
    """What the news file said last; "" where the job has not begun."""
    ended: int = 0
    """How often Slurm has said in a row that it has ended."""


class SlurmExecutor(Executor):
    """Jobs in the queue of a Slurm cluster, one core each, and one GPU with --device cuda."""

    name: ClassVar[str] = "slurm"

    def __init__(
        self,
        slots: int = 0,
        device: str = "auto",
        timeout: float | None = STALL_SECONDS,
    ) -> None:
        """slots: jobs in the queue, 0 for `MOST`. ConfigError without submitit or Slurm."""
        submitit = _submitit()
        super().__init__(slots or MOST, "cpu" if device == "auto" else device)
        self._folder = Path(tempfile.mkdtemp(prefix=".bioplaus-slurm-", dir=Path.cwd()))
        self._queue = submitit.SlurmExecutor(folder=self._folder)
        self._queue.update_parameters(
            job_name="bioplaus", time=MINUTES, cpus_per_task=1, array_parallelism=self.slots,
            **({"gpus_per_node": 1} if self.device != "cpu" else {}),
        )  # fmt: skip
        self._timeout = timeout
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._broken: BioplausError | None = None
        self._count = 0
        self._asked = time.monotonic()
        self._waiting: deque[_Ticket] = deque()
        self._running: dict[Any, _Ticket] = {}
        self._thread = threading.Thread(target=self._work, name="bioplaus-slurm", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, setup: Setup) -> Self:
        if setup.address is not None:
            raise ConfigError("--address names a Ray cluster; Slurm's is that of this machine")
        return cls(setup.jobs, setup.device, setup.timeout)

    def submit(self, job: Job[R], watch: Callable[[Progress], None]) -> Future[R]:
        future: Future[R] = Future()
        with self._lock:
            if self._broken is not None:
                future.set_exception(self._broken)
                return future
            self._count += 1
            news = self._folder / f"news-{self._count}.json"
            self._waiting.append(_Ticket(self._count, job, watch, future, news))
        return future

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join()
        for ticket in self._waiting:
            ticket.future.cancel()
        for queued, ticket in self._running.items():
            _cancel(queued)
            ticket.future.set_exception(WorkerLost(f"{ticket.job.title}: stopped"))
        self._running.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _work(self) -> None:
        """The only thread that talks to Slurm."""
        try:
            while not self._closed.wait(_TICK_SECONDS):
                self._launch()
                for queued, ticket in list(self._running.items()):
                    self._collect(queued, ticket)
                self._ask()
        except Exception as error:  # nobody else would tell whoever waits for a job
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._give_up(BioplausError(f"Slurm, or the folder shared with it, failed: {reason}"))

    def _give_up(self, error: BioplausError) -> None:
        with self._lock:
            self._broken = error
            lost = [*self._running.values(), *self._waiting]
            for queued in self._running:
                _cancel(queued)
            self._running.clear()
            self._waiting.clear()
        for ticket in lost:
            if not ticket.future.done():
                ticket.future.set_exception(error)

    def _launch(self) -> None:
        """Whatever waits and has a slot, as one array."""
        tickets: list[_Ticket] = []
        with self._lock:
            while self._waiting and len(self._running) + len(tickets) < self.slots:
                tickets.append(self._waiting.popleft())
        origin = Origin(os.getcwd(), list(sys.argv))
        ready: list[_Ticket] = []
        for ticket in tickets:
            if ticket.future.set_running_or_notify_cancel():
                try:
                    pickle.dumps(ticket.job)  # here the others of the array have no part in it
                except (pickle.PicklingError, AttributeError, TypeError) as error:
                    ticket.future.set_exception(JobError(f"{ticket.job.title}: {error}"))
                else:
                    ready.append(ticket)
        if not ready:
            return
        jobs, news = [t.job for t in ready], [str(t.news) for t in ready]
        try:
            queued = self._queue.map_array(perform, jobs, news, [origin] * len(ready))
        except Exception as error:  # sbatch says no: a partition, an account, a limit
            reason = " ".join(str(error).split())
            for ticket in ready:
                ticket.future.set_exception(
                    JobError(f"{ticket.job.title}: sbatch refused it: {reason}")
                )
            return
        self._running |= dict(zip(queued, ready, strict=True))

    def _collect(self, queued: Any, ticket: _Ticket) -> None:
        """What a job has left in the folder: its result, or how far it is."""
        if queued.paths.result_pickle.exists():
            del self._running[queued]
            try:
                kind, content = queued.result()
            except Exception as error:  # submitit's, of what was raised outside of the job
                reason = " ".join(str(error).split())[-300:]
                ticket.future.set_exception(JobError(
                    f"{ticket.job.title}: a node of the cluster cannot load the job: {reason}; "
                    "bioplaus and its plugins must be the same on all nodes"
                ))  # fmt: skip
            else:
                settle(ticket.future, kind, content)
            return
        with contextlib.suppress(OSError, ValueError):  # it has not begun
            text = ticket.news.read_text(encoding="utf-8")
            silent = time.time() - ticket.news.stat().st_mtime
            if text != ticket.told:
                ticket.told, told = text, json.loads(text)
                if told is not None:
                    ticket.watch(_progress(told))
            elif self._timeout is not None and silent > self._timeout:
                self._lose(queued, f"no progress for {self._timeout:g} s, so its worker was ended")

    def _ask(self) -> None:
        """Slurm itself, of jobs that have left no result: they may never."""
        if not self._running or time.monotonic() - self._asked < _ASK_SECONDS:
            return
        self._asked = time.monotonic()
        next(iter(self._running)).watcher.update()
        for queued, ticket in list(self._running.items()):
            over = queued.watcher.is_done(queued.job_id, mode="cache")
            ticket.ended = ticket.ended + 1 if over else 0
            if ticket.ended >= _LOST_AFTER and not queued.paths.result_pickle.exists():
                state = queued.watcher.get_state(queued.job_id, mode="cache")
                self._lose(queued, f"its worker was lost (Slurm says {state})")

    def _lose(self, queued: Any, why: str) -> None:
        ticket = self._running.pop(queued)
        _cancel(queued)
        ticket.future.set_exception(WorkerLost(f"{ticket.job.title}: {why}"))


def _submitit() -> Any:
    """submitit, imported where it is asked for and nowhere else; ConfigError."""
    try:
        import submitit
    except ImportError:
        raise ConfigError(
            "the executor slurm needs submitit: pip install 'bioplaus[slurm]'"
        ) from None
    for command in ("sbatch", "sacct", "scancel"):
        if shutil.which(command) is None:
            raise ConfigError(
                f"there is no `{command}` here: the executor slurm runs on a machine that submits "
                "jobs to Slurm"
            )
    return submitit


def _cancel(queued: Any) -> None:
    with contextlib.suppress(Exception):  # it may have ended meanwhile
        queued.cancel(check=False)


def _progress(told: dict[str, Any]) -> Progress:
    from bioplaus.training.progress import Progress

    return Progress(**told)
