"""Measuring the records of a folder by several processes: a job is the seeds of one cell.

As with every job, the process that hands it out writes what comes of it.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bioplaus.axes.by_name import AnyAxis, configured
from bioplaus.axes.measuring import Measured, Measuring, Watch, settings_of
from bioplaus.benchmark.executor import Executor
from bioplaus.benchmark.jobs import Job
from bioplaus.benchmark.jobs import Watch as JobWatch
from bioplaus.errors import BioplausError
from bioplaus.records.schema import Record
from bioplaus.records.store import Store
from bioplaus.system.device import resolve_device
from bioplaus.training.progress import Progress

_PARTS = 1_000
"""Of a seed, in which a worker tells how far it is."""


@dataclass(frozen=True)
class MeasuringJob(Job[Measured]):
    """One axis over some records of a folder; keeps nothing."""

    axis: str
    settings: str
    """Of the axis, all of them, as JSON."""
    folder: Path
    records: tuple[Record, ...]
    device: str
    force: bool

    @property
    def title(self) -> str:
        first = self.records[0]
        return f"{first.rule} on {first.task}"

    def run(self, watch: JobWatch) -> Measured:
        measuring = _measuring(self.axis, self.settings, self.folder, self.device, self.force)
        steps = _PARTS * len(self.records)
        start = measuring.done

        def told(what: str, done: float) -> None:
            step = round(_PARTS * (done - start))
            watch(Progress(step, steps, 1, 1, None, None))

        measuring.watch = told
        return measuring.run(self.records)


@lru_cache(maxsize=1)
def _measuring(axis: str, settings: str, folder: Path, device: str, force: bool) -> Measuring:
    """One for all jobs of a worker, so that it reads the folder once."""
    store = Store(folder)
    return Measuring(
        configured(axis, json.loads(settings)), store, store.read_all(), resolve_device(device),
        force=force, keeps=False,
    )  # fmt: skip


def measure_by_workers(
    executor: Executor,
    axis: AnyAxis,
    store: Store,
    records: Sequence[Record],
    watch: Watch,
    force: bool,
) -> Measured:
    """As `Measuring.run`, cell by cell in the executor's workers; kept as each cell is done.

    A cell whose worker fails or is lost is a problem of its records, and stops no other.
    """
    store.check_writable()
    cells: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        cells[record.cell].append(record)
    parts: dict[str, float] = {}
    lock = threading.Lock()

    def follow(job: MeasuringJob, cell: str, done: float) -> None:
        with lock:
            parts[cell] = done
            watch(job.title, sum(parts.values()))

    result, waiting = Measured(), {}
    settings = json.dumps(settings_of(axis))
    for cell, group in cells.items():
        job = MeasuringJob(axis.name, settings, store.folder, tuple(group), executor.device, force)

        def told(progress: Progress, job: MeasuringJob = job, cell: str = cell) -> None:
            follow(job, cell, progress.step / _PARTS)

        waiting[executor.submit(job, told)] = job
    for future in as_completed(waiting):
        job = waiting[future]
        try:
            found = future.result()
        except BioplausError as error:
            found = Measured(problems=[f"{job.title}: {error}"])
        result.reused += found.reused
        result.problems += found.problems
        result.measurements += [store.publish(m, replace=force) for m in found.measurements]
        follow(job, job.records[0].cell, float(len(job.records)))
    result.measurements.sort(key=lambda m: (m.task, m.rule, m.label, m.cell, m.seed))
    return result
