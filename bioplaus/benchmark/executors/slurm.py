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
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bioplaus.benchmark.executor import STALL_SECONDS, JobError, Setup, settle
from bioplaus.benchmark.executors.cluster import ClusterExecutor, Ticket
from bioplaus.benchmark.executors.slurm_worker import perform
from bioplaus.benchmark.executors.work import Origin
from bioplaus.errors import ConfigError

if TYPE_CHECKING:
    from bioplaus.training.progress import Progress

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
class SlurmTicket(Ticket):
    told: str = ""
    """What its news file said last; "" where the job has not begun."""
    ended: int = 0
    """How often Slurm has said in a row that it has ended."""


class SlurmExecutor(ClusterExecutor[SlurmTicket]):
    """Jobs in the queue of a Slurm cluster, one core each, and one GPU with --device cuda."""

    name: ClassVar[str] = "slurm"
    trouble: ClassVar[str] = "Slurm, or the folder shared with it, failed"
    ticket = SlurmTicket

    def __init__(
        self,
        slots: int = 0,
        device: str = "auto",
        timeout: float | None = STALL_SECONDS,
    ) -> None:
        """slots: jobs in the queue, 0 for `MOST`. ConfigError without submitit or Slurm."""
        submitit = _submitit()
        super().__init__(slots or MOST, "cpu" if device == "auto" else device, timeout)
        self._folder = Path(tempfile.mkdtemp(prefix=".bioplaus-slurm-", dir=Path.cwd()))
        self._queue = submitit.SlurmExecutor(folder=self._folder)
        self._queue.update_parameters(
            job_name="bioplaus", time=MINUTES, cpus_per_task=1, array_parallelism=self.slots,
            **({"gpus_per_node": 1} if self.device != "cpu" else {}),
        )  # fmt: skip
        self._asked = time.monotonic()
        self.start()

    @classmethod
    def open(cls, setup: Setup) -> Self:
        if setup.address is not None:
            raise ConfigError("--address names a Ray cluster; Slurm's is that of this machine")
        return cls(setup.jobs, setup.device, setup.timeout)

    def turn(self) -> None:
        if self.over.wait(_TICK_SECONDS):  # what is submitted meanwhile is one array
            return
        self._launch()
        for queued, ticket in list(self.running.items()):
            self._collect(queued, ticket)
        self._ask()

    def cancel(self, reference: Any) -> None:
        reference.cancel(check=False)

    def release(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _news(self, ticket: SlurmTicket) -> Path:
        """The file in which a job says how far it is."""
        return self._folder / f"news-{ticket.number}.json"

    def _launch(self) -> None:
        """Whatever waits and has a slot, as one array."""
        ready: list[SlurmTicket] = []
        while len(self.running) + len(ready) < self.slots and (ticket := self.next()):
            try:
                pickle.dumps(ticket.job)  # here the others of the array have no part in it
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                ticket.future.set_exception(JobError(f"{ticket.job.title}: {error}"))
            else:
                ready.append(ticket)
        if not ready:
            return
        jobs, news = [t.job for t in ready], [str(self._news(t)) for t in ready]
        origin = Origin(os.getcwd(), list(sys.argv))
        try:
            queued = self._queue.map_array(perform, jobs, news, [origin] * len(ready))
        except Exception as error:  # sbatch says no: a partition, an account, a limit
            reason = " ".join(str(error).split())
            for ticket in ready:
                ticket.future.set_exception(
                    JobError(f"{ticket.job.title}: sbatch refused it: {reason}")
                )
            return
        self.running |= dict(zip(queued, ready, strict=True))

    def _collect(self, queued: Any, ticket: SlurmTicket) -> None:
        """What a job has left in the folder: its result, or how far it is."""
        if queued.paths.result_pickle.exists():
            del self.running[queued]
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
            news = self._news(ticket)
            text, silent = news.read_text(encoding="utf-8"), time.time() - news.stat().st_mtime
            if text != ticket.told:
                ticket.told, told = text, json.loads(text)
                if told is not None:
                    ticket.watch(_progress(told))
            elif self.timeout is not None and silent > self.timeout:
                self.lose_silent(queued)

    def _ask(self) -> None:
        """Slurm itself, of jobs that have left no result: they may never."""
        if not self.running or time.monotonic() - self._asked < _ASK_SECONDS:
            return
        self._asked = time.monotonic()
        next(iter(self.running)).watcher.update()
        for queued, ticket in list(self.running.items()):
            over = queued.watcher.is_done(queued.job_id, mode="cache")
            ticket.ended = ticket.ended + 1 if over else 0
            if ticket.ended >= _LOST_AFTER and not queued.paths.result_pickle.exists():
                state = queued.watcher.get_state(queued.job_id, mode="cache")
                self.lose(queued, f"its worker was lost (Slurm says {state})")


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


def _progress(told: dict[str, Any]) -> Progress:
    from bioplaus.training.progress import Progress

    return Progress(**told)
