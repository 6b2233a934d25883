"""Jobs over Slurm's commands, against commands of the test's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bioplaus.benchmark.executor import JobError, Setup, WorkerLost
from bioplaus.benchmark.executors import slurm
from bioplaus.benchmark.executors.slurm import SlurmExecutor
from bioplaus.errors import BioplausError, ConfigError
from bioplaus.training.progress import Progress
from tests.helpers.jobs import Told, quiet
from tests.helpers.slurm import install

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands keep what they were asked; the working folder is the test's own."""
    commands = tmp_path / "commands"
    commands.mkdir()
    found = install(commands)
    monkeypatch.setenv("FAKE_SLURM", found["FAKE_SLURM"])
    monkeypatch.setenv("PATH", f"{found['PATH']}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm, "_TICK_SECONDS", 0.1)
    monkeypatch.setattr(slurm, "_ASK_SECONDS", 0.5)
    return Path(found["FAKE_SLURM"])


def test_an_array_of_jobs_one_of_which_is_lost(state: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    seen: list[Progress] = []
    with SlurmExecutor(slots=3) as executor:
        work, die, mistake = (
            executor.submit(Told(what), seen.append) for what in ("work", "die", "mistake")
        )
        pid, threads, arguments = work.result(timeout=300)  # type: ignore[misc]
        assert pid != os.getpid() and threads == 1 and arguments == sys.argv
        with pytest.raises(WorkerLost, match=r"told to die: its worker was lost \(Slurm says FAIL"):
            die.result(timeout=300)
        with pytest.raises(JobError, match=r"^one clear line$") as error:
            mistake.result(timeout=300)
        assert not isinstance(error.value, WorkerLost)
    (script,) = state.glob("script-*")
    assert "--array=0-2%3" in script.read_text() and "gpus" not in script.read_text()
    assert not list(tmp_path.glob(".bioplaus-slurm-*")), "nothing is left behind"


def test_what_hangs_is_cancelled_and_what_is_refused_says_why(state: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with SlurmExecutor(slots=1, device="cuda", timeout=2) as executor:
        hung = executor.submit(Told("hang"), quiet)
        with pytest.raises(WorkerLost, match=r"told to hang: no progress for 2 s"):
            hung.result(timeout=300)
        assert list(state.glob("cancelled-*"))
        (state / "refuse").touch()
        refused = executor.submit(Told("work"), quiet)
        with pytest.raises(JobError, match=r"sbatch refused it.*invalid partition"):
            refused.result(timeout=60)
    assert "--gpus-per-node=1" in (state / "script-0").read_text()


def test_a_thread_that_fails_leaves_nobody_waiting(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")

    def gone(self: SlurmExecutor) -> None:
        raise OSError("the shared folder is gone")

    monkeypatch.setattr(SlurmExecutor, "_ask", gone)
    with SlurmExecutor(slots=1) as executor:
        jobs = [executor.submit(Told("hang"), quiet) for _ in range(2)]
        for job in jobs:
            with pytest.raises(BioplausError, match=r"OSError: the shared folder is gone"):
                job.result(timeout=60)
        with pytest.raises(BioplausError, match="the shared folder is gone"):
            executor.submit(Told("work"), quiet).result(timeout=60)
    assert not list(tmp_path.glob(".bioplaus-slurm-*"))


def test_without_slurm_or_with_an_address_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no `sbatch` here"):
        SlurmExecutor.open(Setup())
    with pytest.raises(ConfigError, match="names a Ray cluster"):
        SlurmExecutor.open(Setup(address="auto"))
