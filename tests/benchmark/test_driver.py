"""The driver: in order, and no more at a time than there is room for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import pytest

from bioplaus.benchmark.driver import Spectator, drive
from bioplaus.benchmark.executor import WorkerLost
from bioplaus.benchmark.jobs import CellJob, Job
from bioplaus.benchmark.plan import Entry, Place
from bioplaus.benchmark.steps import JobStep
from bioplaus.benchmark.work import tuned
from bioplaus.experiments.experiment import configure
from bioplaus.records.schema import Record, Tuning, TuningBudget
from bioplaus.records.store import Store
from bioplaus.tasks.task import read_task
from bioplaus.training.progress import Progress
from tests.helpers.inline import InlineExecutor

R = TypeVar("R")


def test_the_driver_keeps_order_and_starts_no_more_than_fits() -> None:
    """A work begins when a slot is free, not before: what was begun is finished first."""
    events: list[str] = []

    def piece(name: str) -> Iterator[list[JobStep]]:
        for part in range(2):
            events.append(f"{name}{part}")
            yield []
        events.append(f"{name} done")

    drive([piece("a"), piece("b")], InlineExecutor(), Spectator())
    assert events == ["a0", "a1", "a done", "b0", "b1", "b done"]


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
