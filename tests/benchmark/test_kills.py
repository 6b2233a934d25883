"""Benchmarks that are killed: started again, they end as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from pathlib import Path

import torch

from bioplaus.benchmark.jobs import CellJob
from tests.helpers.benches import PLAIN, TUNED, bench, facts, suite_file, table


def child_bench(suite: Path, store: Path) -> None:
    """A benchmark in a process of its own; without a failure."""
    torch.set_num_threads(1)
    done, _ = bench(suite, store)
    assert not done.failures


def test_ten_kills_at_random_moments_change_nothing(tiny: Path, tmp_path: Path) -> None:
    """A process that is killed while it trains, tunes or writes, and started again."""
    suite = suite_file(tiny, TUNED.replace("epochs = 1", "epochs = 2"))
    start = time.monotonic()
    bench(suite, tmp_path / "whole")
    whole = time.monotonic() - start
    chance = random.Random(6)
    # a server that has not trained forks the children: autograd does not survive a fork
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bioplaus.benchmark.plan", "tests.benchmark.test_kills"])
    killed = 0
    for _ in range(10):
        child = context.Process(target=child_bench, args=(suite, tmp_path / "killed"))
        child.start()
        while child.is_alive() and not (tmp_path / "killed").exists():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, whole / 3))
        child.kill()
        child.join()
        assert child.exitcode in (0, -signal.SIGKILL)
        killed += child.exitcode != 0
    assert killed >= 2, "no kill came in time"
    bench(suite, tmp_path / "killed")
    assert table(tmp_path / "killed") == table(tmp_path / "whole")
    assert facts(tmp_path / "killed") == facts(tmp_path / "whole")


def test_a_kill_between_two_records_of_a_group_changes_nothing(tiny: Path, tmp_path: Path) -> None:
    suite = suite_file(tiny, PLAIN)
    bench(suite, tmp_path / "r")
    before = facts(tmp_path / "r")
    for path in (tmp_path / "r").rglob("seed-0001.json"):
        path.unlink()
    _, executor = bench(suite, tmp_path / "r")
    assert [job.seeds for job in executor.jobs if isinstance(job, CellJob)] == [(0, 1), (0, 1)]
    assert facts(tmp_path / "r") == before
