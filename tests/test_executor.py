"""Worker processes: they work, they fail one at a time, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from bioplaus import registry
from bioplaus.errors import ConfigError
from bioplaus.executor import JobError
from bioplaus.executors.local import LocalExecutor
from bioplaus.jobs import Job, Watch
from bioplaus.trainer import Progress


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
from test_executor import Little
from bioplaus.executors.local import LocalExecutor
if __name__ == "__main__":
    LocalExecutor(1).submit(Little("sleep"), print).result()
"""


def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(tests=str(Path(__file__).parent)))
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
