"""What runs on the nodes of a Slurm cluster: one job in each process."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bioplaus.benchmark.executors.work import Kind, News, Origin, outcome, use_one_thread
from bioplaus.system.interruption import Terminated, handled

if TYPE_CHECKING:
    from bioplaus.benchmark.jobs import Job
    from bioplaus.training.progress import Progress

NEWS_EVERY_SECONDS = 5.0


def perform(job: Job[object], news: str, origin: Origin) -> tuple[Kind, object]:
    """Run a job; how far it is stands in the file `news`, which all nodes see."""
    sign = Path(news)
    _tell(sign, None)
    use_one_thread()
    origin.resemble()
    _tell(sign, None)  # a slow start is no standstill
    try:
        with handled(signal.SIGTERM):
            return outcome(job, News(lambda progress: _tell(sign, progress), NEWS_EVERY_SECONDS))
    except Terminated:  # preempted, or out of time: a checkpoint is written
        return "lost", f"{job.title}: Slurm told its worker to stop"


def _tell(sign: Path, progress: Progress | None) -> None:
    """Whole or not at all: another node may be reading it."""
    beside = sign.with_suffix(".writing")
    beside.write_text(json.dumps(progress and asdict(progress)), encoding="utf-8")
    os.replace(beside, sign)
