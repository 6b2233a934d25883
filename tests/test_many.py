"""Many processes and one results folder, and a disk that will not take any more."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import pytest
from click.testing import CliRunner

from bioplaus.benchmark.driver import Spectator, drive
from bioplaus.benchmark.jobs import CellJob, Job
from bioplaus.benchmark.optuna_study import Study
from bioplaus.benchmark.plan import Place, expand
from bioplaus.benchmark.suite import read_suite
from bioplaus.benchmark.work import Done, work
from bioplaus.cli import main
from bioplaus.errors import RecordError
from bioplaus.plugins import registry
from bioplaus.records import store as store_module
from bioplaus.records.merge import merge
from bioplaus.records.store import Store
from bioplaus.training.trainer import Progress
from tests.benchmark.test_bench import PLAIN, TUNED, bench, facts, suite_file
from tests.helpers.command import BIOPLAUS
from tests.helpers.inline import InlineExecutor
from tests.helpers.records import make_record

R = TypeVar("R")

MANY = TUNED.replace('rules = ["backprop", "gaitprop"]',
                     'rules = ["backprop", "gaitprop", "feedback-alignment"]')  # fmt: skip


class Logged(InlineExecutor):
    """Writes a line for each job that was trained to its end."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = log

    def submit(self, job: Job[R], watch: Callable[[Progress], None]) -> Future[R]:
        future = super().submit(job, watch)
        seeds = job.seeds if isinstance(job, CellJob) else ""
        with self._log.open("a") as file:
            file.write(f"{job.title} {seeds}\n")
        return future


def start(suite: Path, results: Path, log: Path) -> int:
    """A process that runs the suite; it exits 0 where all went well."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        place, done = Place(Store(results)), Done()
        entries = expand(read_suite(str(suite))).entries
        drive([work(entry, place, done) for entry in entries], Logged(log), Spectator())
        status = 0 if len(done.records) == 2 * len(entries) and not done.failures else 2
    finally:
        os._exit(status)


def nursery(suite: Path, results: Path, log: Path, count: int, killed: int) -> None:
    """Forks so many, kills some at random moments, and prints how each ended."""
    import torch  # noqa: F401  # once for all

    children = [start(suite, results, log) for _ in range(count)]
    chance = random.Random(8)
    for victim in chance.sample(children, killed):
        time.sleep(chance.uniform(0.2, 1.0))
        os.kill(victim, signal.SIGKILL)
    print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))


def share(suite: Path, results: Path, log: Path, count: int, killed: int = 0) -> Counter[int]:
    """How so many processes ended; not forked from here, where autograd may have threads."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); "
        "from pathlib import Path; from tests.test_many import nursery; "
        f"nursery(*map(Path, sys.argv[1:]), {count}, {killed})"
    )
    command = [sys.executable, "-c", code, str(suite), str(results), str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return Counter(map(int, done.stdout.split()))


def leftovers(folder: Path) -> list[Path]:
    """Everything hidden: claims and temporary files."""
    return list(folder.rglob(".*"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A suite, and the results of one process that ran it."""
    from tests.conftest import TINY

    folder = tmp_path_factory.mktemp("alone")
    (folder / "tiny.toml").write_text(TINY)
    suite = suite_file(folder / "tiny.toml", MANY)
    assert share(suite, folder / "r", folder / "log", 1) == {0: 1}
    return suite, folder / "r"


@pytest.mark.parametrize("killed", [0, 2])
def test_eight_processes_share_a_folder(
    alone: tuple[Path, Path], tmp_path: Path, killed: int
) -> None:
    """Every record valid and as one process makes it, nothing lost, nothing trained thrice."""
    suite, whole = alone
    results, log = tmp_path / "r", tmp_path / "log"
    statuses = share(suite, results, log, 8, killed)
    assert set(statuses) <= {0, -9} and statuses[-9] <= killed, statuses
    found = Store(results).read_all()
    assert not found.damaged and not found.failures
    assert (len(found.records), len(found.tunings)) == (6, 3)
    assert facts(results) == facts(whole)
    trained = Counter(log.read_text().splitlines())
    assert len(trained) == 6 and max(trained.values()) <= 2
    assert killed or set(trained.values()) == {1}
    assert leftovers(results) == []


def running(tiny: Path, results: Path) -> subprocess.Popen[str]:
    """Trains for longer than any test."""
    command = [BIOPLAUS, "run", "--task", str(tiny), "--seeds", "1",
               "--results", str(results), "--rule", "backprop", "--epochs", "100000"]  # fmt: skip
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(results: Path, name: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not list(results.rglob(name)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)


def test_of_two_runs_the_second_waits_and_takes_over_from_the_dead(
    tiny: Path, tmp_path: Path
) -> None:
    first = running(tiny, tmp_path / "r")
    second = running(tiny, tmp_path / "r")
    try:
        wait_for(tmp_path / "r", ".claim-0001", first)
        (claim,) = (tmp_path / "r").rglob(".claim-0001")
        holder, waiter = (first, second) if f'"pid": {first.pid},' in claim.read_text() else (
            second, first)  # fmt: skip
        assert waiter.stderr is not None
        line = next(line for line in waiter.stderr if "is at work on it" in line)
        assert line.startswith("backprop on tiny epochs=100000: process ")
        assert f"process {holder.pid} on " in line
        holder.kill()
        wait_for(tmp_path / "r", ".claim-0002", waiter)
        waiter.send_signal(signal.SIGINT)
        _, stderr = waiter.communicate(timeout=60)
        assert waiter.returncode == 130, stderr
    finally:
        first.kill()
        second.kill()
    assert not list((tmp_path / "r").rglob(".claim*")), "let go of at Ctrl-C too"
    assert not list((tmp_path / "r").rglob(".writing*"))


def test_what_a_killed_run_left_beside_whole_records_goes(tiny: Path, tmp_path: Path) -> None:
    suite = suite_file(tiny, PLAIN)
    bench(suite, tmp_path / "r")
    cell, _ = sorted({p.parent for p in (tmp_path / "r").rglob("seed-*.json")})
    child = os.fork()
    if child == 0:
        Store(tmp_path / "r").claims.take(cell / ".claim")
        os._exit(0)
    os.waitpid(child, 0)
    (cell / ".writing-from-before").touch()
    assert len(leftovers(tmp_path / "r")) == 2
    _, executor = bench(suite, tmp_path / "r")
    assert not executor.jobs and leftovers(tmp_path / "r") == []


def test_the_first_writer_wins_and_damage_is_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = make_record(test=0.25), make_record(test=0.75)
    assert store.publish(first) == first
    assert store.publish(second) == first, "the caller uses the one that was first"
    path = store.place(first)
    path.write_bytes(path.read_bytes()[:99])
    assert store.publish(second) == second and store.read(path) == second
    assert store.publish(first, replace=True) == first and store.read(path) == first
    assert os.listdir(path.parent) == [path.name]


def test_a_run_uses_the_record_that_was_first(tiny: Path, tmp_path: Path) -> None:
    """Another process publishes while this one trains: that record stays, and is shown."""
    from bioplaus.experiments.experiment import plan
    from bioplaus.running.run import run_experiments
    from bioplaus.training.execution import Execution

    experiments = plan(["backprop"], str(tiny))
    import torch

    here = Execution(torch.device("cpu"))
    (theirs,) = run_experiments(experiments, [0], Store(tmp_path / "b"), execution=here).records
    theirs = theirs.model_copy(update={"provenance": {"by": "another process"}})
    store = Store(tmp_path / "a")
    done = run_experiments(experiments, [0], store, execution=here,
                           observe=lambda *_: store.write(theirs))  # fmt: skip
    assert done.records == [theirs] and store.read_all().records == [theirs]
    assert len(run_experiments(experiments, [0], store, execution=here, force=True).records) == 1
    assert store.read_all().records != [theirs], "but --force replaces it"


def test_a_failure_that_another_met_meanwhile_is_not_tried_again(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, *args: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(registry.load("rule", "backprop"), "deltas", broken)
    suite = suite_file(tiny, PLAIN.replace(', "gaitprop"', ""))
    (entry,) = expand(read_suite(str(suite))).entries
    place = Place(Store(tmp_path))
    cell = entry.cell(place.store, {})
    claim = Store(tmp_path).claims.take(cell.claim)
    done, executor = Done(), InlineExecutor()

    class OtherFails(Spectator):
        def put_off(self, reason: str) -> None:
            assert "backprop on tiny epochs=1: process" in reason
            claim.release()  # type: ignore[union-attr]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("bioplaus.benchmark.driver._PAUSE_SECONDS", 0.0)
                bench(suite, tmp_path)

    drive([work(entry, place, done)], executor, OtherFails())
    assert not executor.jobs and len(done.failures) == 1
    again, executor = bench(suite, tmp_path)
    assert len(executor.jobs) == 1 and len(again.failures) == 1, "a new command tries again"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 256 kB; skips where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs the right to")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """A file that takes all the space but so many bytes."""
    state = os.statvfs(folder)
    path = folder / "filler"
    path.write_bytes(b"x" * max(0, state.f_bavail * state.f_frsize - leave))
    return path


@pytest.mark.parametrize("leave", [0, 4096, 8192, 16384, 32768])
def test_a_full_disk_stops_a_benchmark_and_space_lets_it_go_on(
    alone: tuple[Path, Path], small_disk: Path, leave: int
) -> None:
    suite, whole = alone
    filler = fill(small_disk, leave)
    with pytest.raises(RecordError, match=r"^cannot write .*No space left on device; free some"):
        bench(suite, small_disk / "r")
    assert leftovers(small_disk) == []
    if (small_disk / "r").is_dir():
        assert Store(small_disk / "r").read_all().damaged == []
    filler.unlink()
    bench(suite, small_disk / "r")
    assert facts(small_disk / "r") == facts(whole) and leftovers(small_disk) == []


def test_a_full_disk_at_the_command_line(tiny: Path, small_disk: Path) -> None:
    def run() -> tuple[int, str]:
        done = CliRunner().invoke(main, [
            "run", "--rule", "backprop", "--rule", "gaitprop", "--task", str(tiny),
            "--seeds", "1", "--results", str(small_disk / "r")])  # fmt: skip
        return done.exit_code, done.stderr

    filler = fill(small_disk, 12288)
    status, error = run()
    assert status == 1 and "Traceback" not in error
    last = error.strip().splitlines()[-1]
    assert last.startswith("Error: stopped: cannot write ") and "No space left" in last
    assert leftovers(small_disk) == []
    filler.unlink()
    assert run()[0] == 0 and len(Store(small_disk / "r").read_all().records) == 2


def test_a_folder_that_was_removed_is_made_again(tiny: Path, tmp_path: Path) -> None:
    import shutil

    suite = suite_file(tiny, PLAIN)
    place, done = Place(Store(tmp_path / "r")), Done()
    entries = expand(read_suite(str(suite))).entries

    class Removes(Spectator):
        def started(self, step: object) -> None:
            shutil.rmtree(tmp_path / "r")

    drive([work(e, place, done) for e in entries], InlineExecutor(), Removes())
    assert {r.rule for r in Store(tmp_path / "r").read_all().records} == {"gaitprop"}
    assert len(done.records) == 4 and leftovers(tmp_path / "r") == []


def test_a_folder_that_cannot_be_written_stops_before_training(tiny: Path, tmp_path: Path) -> None:
    suite = suite_file(tiny, PLAIN)
    store = Store(tmp_path / "r")
    (tmp_path / "r" / "tiny").mkdir(parents=True)
    (tmp_path / "r" / "tiny" / "backprop").write_text("in the way")
    executor = InlineExecutor()
    works = [work(e, Place(store), Done()) for e in expand(read_suite(str(suite))).entries]
    with pytest.raises(RecordError, match=r"^cannot write .*backprop"):
        drive(works, executor, Spectator())
    assert not executor.jobs


def test_a_journal_that_is_gone_is_one_line(tmp_path: Path) -> None:
    from bioplaus.learning.search_space import LogUniform

    space = {"optimizer.lr": LogUniform(1e-4, 1e-2)}
    study = Study("key", space, {"optimizer.lr": 1e-3}, 3, tmp_path / "r" / "tuning.journal")
    (tmp_path / "r" / "tuning.journal").unlink()
    with pytest.raises(RecordError, match=r"tuning\.journal"):
        study.next_wave()


def test_files_that_go_while_a_folder_is_read_are_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a failure does when its cell succeeds, between the listing and the reading."""
    store = Store(tmp_path / "r")
    kept, gone = store.write(make_record(seed=0)), store.write(make_record(seed=1))
    real = store_module.read_item

    def read_item(path: Path) -> object:
        gone.unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr(store_module, "read_item", read_item)
    (tmp_path / "r" / "toy" / "backprop" / ".claim-tuning-x-0001").touch()
    (kept.parent / ".writing-x").touch()
    found = store.read_all()
    assert [r.seed for r in found.records] == [0] and not found.damaged
    gone.parent.joinpath("seed-0002.json").symlink_to("nowhere")
    done = merge([tmp_path / "r"], tmp_path / "into")
    assert (done.copied, done.damaged, done.conflicts) == (1, [], [])
