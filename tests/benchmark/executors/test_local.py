"""Worker processes: they work, they fail one at a time, and none is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bioplaus.benchmark.executor import JobError, Setup, WorkerLost
from bioplaus.benchmark.executors.local import LocalExecutor
from bioplaus.errors import ConfigError
from bioplaus.plugins import registry
from bioplaus.training.progress import Progress
from tests.helpers.jobs import Told, quiet


def test_the_local_executor_takes_no_address() -> None:
    with pytest.raises(ConfigError, match="add --executor ray"):
        LocalExecutor.open(Setup(address="auto"))


def test_jobs_run_in_workers_and_failures_stay_theirs() -> None:
    seen: list[Progress] = []
    with LocalExecutor(1) as executor:
        futures = [
            executor.submit(Told(what), seen.append)
            for what in ("work", "raise", "mistake", "die", "work")
        ]
        first, raised, mistaken, died, last = futures
        pid, threads, _ = first.result(timeout=60)  # type: ignore[misc]
        assert pid != os.getpid() and threads == 1
        assert seen and seen[0].steps == 2
        with pytest.raises(JobError, match=r"told to raise: ZeroDivisionError: planted \(line"):
            raised.result(timeout=60)
        with pytest.raises(JobError, match=r"^one clear line$"):
            mistaken.result(timeout=60)
        with pytest.raises(JobError, match=r"told to die: its worker process died .*SIGKILL"):
            died.result(timeout=60)
        replaced, *_ = last.result(timeout=60)  # type: ignore[misc]
        assert replaced != pid
    with pytest.raises(ProcessLookupError):
        os.kill(replaced, 0)


def test_losses_are_told_from_failures() -> None:
    """A worker that dies, hangs or fills the memory; one whose job raises is not lost."""
    with LocalExecutor(1, timeout=20) as executor:
        orders = ("die", "hang", "fill the memory", "raise", "work")
        died, hung, filled, raised, last = (executor.submit(Told(w), quiet) for w in orders)
        with pytest.raises(WorkerLost, match="died"):
            died.result(timeout=200)
        with pytest.raises(WorkerLost, match=r"told to hang: no progress for 20 s, so .* killed"):
            hung.result(timeout=200)
        with pytest.raises(WorkerLost, match="ran out of memory"):
            filled.result(timeout=200)
        with pytest.raises(JobError) as error:
            raised.result(timeout=200)
        assert not isinstance(error.value, WorkerLost)
        last.result(timeout=200)


def test_closing_stops_what_runs() -> None:
    executor = LocalExecutor(1)
    future = executor.submit(Told("hang"), quiet)
    waiting = executor.submit(Told("work"), quiet)
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
from tests.helpers.jobs import Told, quiet
from bioplaus.benchmark.executors.local import LocalExecutor
if __name__ == "__main__":
    LocalExecutor(1).submit(Told("hang"), quiet).result()
"""


def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(tests=str(Path(__file__).parents[3])))
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
