"""Many processes and one results folder, and a disk that will not take any more."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bioplaus.benchmark.driver import Spectator, drive
from bioplaus.benchmark.plan import Place, expand
from bioplaus.benchmark.suite import read_suite
from bioplaus.benchmark.work import Done, work
from bioplaus.cli import main
from bioplaus.errors import RecordError
from bioplaus.plugins import registry
from bioplaus.records.store import Store
from tests.helpers.benches import PLAIN, bench, facts, suite_file
from tests.helpers.inline import InlineExecutor
from tests.helpers.shared_folder import leftovers, share


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
