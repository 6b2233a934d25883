"""Worker processes: they work, they fail one at a time, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from bioplaus.benchmark.driver import Spectator, drive
from bioplaus.benchmark.executor import JobError, WorkerLost
from bioplaus.benchmark.executors.local import LocalExecutor
from bioplaus.benchmark.jobs import CellJob, Job, Watch
from bioplaus.benchmark.plan import Entry, Place
from bioplaus.benchmark.steps import JobStep
from bioplaus.benchmark.work import tuned
from bioplaus.errors import ConfigError
from bioplaus.experiments.experiment import configure
from bioplaus.plugins import registry
from bioplaus.records.schema import Record, Tuning, TuningBudget
from bioplaus.records.store import Store
from bioplaus.tasks.task import read_task
from bioplaus.training.trainer import Progress
from tests.helpers.inline import InlineExecutor

R = TypeVar("R")


@dataclass(frozen=True)
class Little(Job[object]):
    """A job that does as it is told."""

    what: str

    @property
    def title(self) -> str:
        return f"little {self.what}"

    def run(self, watch: Watch) -> object:
        if self.what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "raise":
            raise ZeroDivisionError("planted")
        if self.what == "mistake":
            raise ConfigError("one clear line")
        if self.what == "fill the memory":
            raise MemoryError
        if self.what == "sleep":
            print(os.getpid(), flush=True)
            time.sleep(600)
        watch(Progress(1, 2, 1, 1, None, None))
        import torch

        return os.getpid(), torch.get_num_threads()


def quiet(progress: Progress) -> None:
    pass


def test_jobs_run_in_workers_and_failures_stay_theirs() -> None:
    seen: list[Progress] = []
    with LocalExecutor(1) as executor:
        futures = [
            executor.submit(Little(what), seen.append)
            for what in ("work", "raise", "mistake", "die", "work")
        ]
        first, raised, mistaken, died, last = futures
        pid, threads = first.result(timeout=60)  # type: ignore[misc]
        assert pid != os.getpid() and threads == 1
        assert seen and seen[0].steps == 2
        with pytest.raises(JobError, match=r"little raise: ZeroDivisionError: planted \(line"):
            raised.result(timeout=60)
        with pytest.raises(JobError, match=r"^one clear line$"):
            mistaken.result(timeout=60)
        with pytest.raises(JobError, match=r"little die: its worker process died .*SIGKILL"):
            died.result(timeout=60)
        replaced, _ = last.result(timeout=60)  # type: ignore[misc]
        assert replaced != pid
    with pytest.raises(ProcessLookupError):
        os.kill(replaced, 0)


def test_losses_are_told_from_failures() -> None:
    """A worker that dies, hangs or fills the memory; one whose job raises is not lost."""
    with LocalExecutor(1, timeout=8) as executor:
        orders = ("die", "sleep", "fill the memory", "raise", "work")
        died, hung, filled, raised, last = (executor.submit(Little(w), quiet) for w in orders)
        with pytest.raises(WorkerLost, match="died"):
            died.result(timeout=60)
        with pytest.raises(WorkerLost, match=r"little sleep: no progress for 8 s, so .* killed"):
            hung.result(timeout=60)
        with pytest.raises(WorkerLost, match="ran out of memory"):
            filled.result(timeout=60)
        with pytest.raises(JobError) as error:
            raised.result(timeout=60)
        assert not isinstance(error.value, WorkerLost)
        last.result(timeout=60)


class Losing(InlineExecutor):
    """Loses a worker the first few times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def submit(self, job: Job[R], watch: Callable[[Progress], None]) -> Future[R]:
        if self.times:
            self.times -= 1
            future: Future[R] = Future()
            future.set_exception(WorkerLost(f"lost {self.times}"))
            return future
        return super().submit(job, watch)


@pytest.mark.parametrize("times", range(4))
def test_a_lost_job_is_tried_twice_more_and_that_is_noted(tiny: Path, times: int) -> None:
    experiment = configure("backprop", read_task(str(tiny)), {"task.epochs": 1}, "fp32")
    kept: list[Record] = []
    reasons: list[str] = []
    told: list[str] = []
    step = JobStep(CellJob(experiment, (0,), "cpu"), kept.extend, reasons.append, told.append)
    drive(iter([(s for s in [[step]])]), Losing(times), Spectator())
    lost = [f"lost {n}" for n in range(times - 1, -1, -1)]
    assert told == lost[:2]
    if times <= 2:
        (record,) = kept
        assert not reasons and record.provenance.get("lost_attempts", []) == lost
        assert ("lost_attempts" in record.provenance) == bool(times)
    else:
        assert not kept
        assert reasons == ["lost 0 (tried 3 times; before that: lost 2; lost 1)"]


def test_a_tuning_notes_what_was_lost(tiny: Path, tmp_path: Path) -> None:
    task = read_task(str(tiny))
    budget = TuningBudget(trials=2, seeds=1, epochs=1)
    entry = Entry("backprop", task, task.load_data(), {}, "fp32", (), budget)
    found: list[Tuning] = []
    drive([tuned(entry, Place(Store(tmp_path)), found)], Losing(1), Spectator())
    assert found[0].provenance["lost_attempts"] == ["lost 0"]
    assert {trial.status for trial in found[0].trials} == {"complete"}


def test_closing_stops_what_runs() -> None:
    executor = LocalExecutor(1)
    future = executor.submit(Little("sleep"), quiet)
    waiting = executor.submit(Little("work"), quiet)
    time.sleep(0.2)
    start = time.monotonic()
    executor.close()
    executor.close()
    assert time.monotonic() - start < 30
    with pytest.raises(JobError):
        future.result(timeout=60)
    assert waiting.cancelled() or isinstance(waiting.exception(), JobError)


PARENT = """
import sys
sys.path.insert(0, {tests!r})
from tests.benchmark.test_executor import Little
from bioplaus.benchmark.executors.local import LocalExecutor
if __name__ == "__main__":
    LocalExecutor(1).submit(Little("sleep"), print).result()
"""


def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(tests=str(Path(__file__).parents[2])))
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    os.kill(worker, 0)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while _alive(worker):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    """Whether it runs: a zombie that nobody has collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_the_local_executor_comes_in_by_the_door_of_all() -> None:
    assert registry.load("executor", "local") is LocalExecutor
