"""Many processes and one results folder."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from bioplaus.benchmark.driver import Spectator, drive
from bioplaus.benchmark.jobs import CellJob, Job
from bioplaus.benchmark.plan import Place, expand
from bioplaus.benchmark.suite import read_suite
from bioplaus.benchmark.work import Done, work
from bioplaus.records.store import Store
from bioplaus.training.progress import Progress
from tests.helpers.benches import TUNED
from tests.helpers.inline import InlineExecutor

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
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
        "from pathlib import Path; from tests.helpers.shared_folder import nursery; "
        f"nursery(*map(Path, sys.argv[1:]), {count}, {killed})"
    )
    command = [sys.executable, "-c", code, str(suite), str(results), str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return Counter(map(int, done.stdout.split()))


def leftovers(folder: Path) -> list[Path]:
    """Everything hidden: claims and temporary files."""
    return list(folder.rglob(".*"))
