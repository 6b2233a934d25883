"""Jobs on this machine: worker processes of one thread each."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from bioplaus.benchmark.executor import (
    STALL_SECONDS,
    Executor,
    JobError,
    Setup,
    WorkerLost,
    room_here,
)
from bioplaus.benchmark.executors.work import News, outcome, use_one_thread
from bioplaus.system.interruption import Terminated, handled, obey_if_requested

if TYPE_CHECKING:
    from bioplaus.benchmark.jobs import Job
    from bioplaus.training.progress import Progress

R = TypeVar("R")

_NEWS_EVERY_SECONDS = 0.25
_GRACE_SECONDS = 10.0
"""For workers that are told to stop, to end the step they are in and write a checkpoint."""


class LocalExecutor(Executor):
    """Worker processes on this machine, one thread and one job each at a time."""

    name: ClassVar[str] = "local"

    def __init__(
        self, slots: int, device: str = "cpu", timeout: float | None = STALL_SECONDS
    ) -> None:
        super().__init__(slots, device)
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="bioplaus-slot")
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers = [_Worker(timeout) for _ in range(slots)]
        for worker in self._workers:
            self._free.put(worker)

    @classmethod
    def open(cls, setup: Setup) -> Self:
        slots, device = room_here(cls.name, setup)
        return cls(slots, device, setup.timeout)

    def submit(self, job: Job[R], watch: Callable[[Progress], None]) -> Future[R]:
        return self._threads.submit(self._run, job, watch)

    def _run(self, job: Job[R], watch: Callable[[Progress], None]) -> R:
        worker = self._free.get()
        try:
            result: R = worker.run(job, watch)
            return result
        finally:
            self._free.put(worker)

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()
        deadline = time.monotonic() + _GRACE_SECONDS
        for worker in self._workers:
            worker.close(deadline)
        self._threads.shutdown(cancel_futures=True)


class _Worker:
    """One process, started when first needed and again where it died."""

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._process: Any = None
        self._pipe: Connection | None = None
        self._lock = threading.Lock()
        self._closed = False

    def run(self, job: Job[R], watch: Callable[[Progress], None]) -> R:
        try:
            pipe = self._ready()
            pipe.send(job)
            while pipe.poll(self._timeout):
                kind, content = pipe.recv()
                if kind == "progress":
                    watch(content)
                elif kind == "done":
                    result: R = content
                    return result
                elif kind == "failed":
                    raise JobError(content)
                else:
                    self._kill()  # what it holds is freed with it
                    raise WorkerLost(content)
        except (EOFError, OSError):
            status = self._bury()
            raise WorkerLost(f"{job.title}: its worker process died ({status})") from None
        self._kill()
        raise WorkerLost(
            f"{job.title}: no progress for {self._timeout:g} s, so its worker process was killed"
        )

    def _ready(self) -> Connection:
        """The pipe to a live process."""
        with self._lock:
            if self._closed:
                raise EOFError
            if self._pipe is None:
                context = get_context("spawn")
                self._pipe, other = context.Pipe()
                self._process = context.Process(target=_serve, args=(other,), daemon=True)
                self._process.start()
                other.close()
            return self._pipe

    def _bury(self) -> str:
        with self._lock:
            if self._process is None:
                return "stopped"
            self._process.join(timeout=10)
            code = self._process.exitcode
            if self._pipe is not None:
                self._pipe.close()
            self._process = self._pipe = None
        if code is not None and code < 0:
            return f"signal {signal.Signals(-code).name}; is there enough memory?"
        return f"exit status {code}"

    def _kill(self) -> None:
        """The next job gets another process."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
        self._bury()

    def stop(self) -> None:
        """Tell the process to write a checkpoint and end."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.terminate()

    def close(self, deadline: float) -> None:
        """End the process, at the latest when the monotonic clock shows that time."""
        with self._lock:
            if self._process is not None:
                self._process.join(timeout=max(0.0, deadline - time.monotonic()))
                self._process.kill()
                self._process.join()


def _serve(pipe: Connection) -> None:
    """The worker's life: one job after the other, until the pipe or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        with handled(signal.SIGTERM):
            use_one_thread()
            _work(pipe)
    except Terminated as termination:
        sys.exit(termination.code)


def _work(pipe: Connection) -> None:
    while True:
        obey_if_requested()
        try:
            job: Job[object] = pipe.recv()
        except (EOFError, OSError):
            return
        except Exception as error:  # a job whose plugin is not importable here
            pipe.send(("failed", f"{type(error).__name__}: {error}"))
            continue
        news = News(lambda progress: pipe.send(("progress", progress)), _NEWS_EVERY_SECONDS)
        pipe.send(outcome(job, news))


def _die_with_parent() -> None:
    """However it ends, kill -9 included, no worker is left behind."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
