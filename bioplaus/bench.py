"""A benchmark: the cells of a suite, and running those that are missing.

A cell is one rule, fully configured, on one task. Its records are the cache: what has one
is not run again. Where the suite tunes, a cell's configuration is chosen first.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bioplaus.checkpoint import remove_checkpoints
from bioplaus.environment import provenance
from bioplaus.errors import BioplausError, ConfigError, DataError, RecordError, UnsupportedError
from bioplaus.experiment import Experiment, configure
from bioplaus.job_data import load_data
from bioplaus.jobs import CellJob
from bioplaus.records import Failure, Record, ResultSet, Tuning, TuningBudget
from bioplaus.runner import Cell
from bioplaus.steps import Step, Work
from bioplaus.store import Store, read_failure, read_tuning
from bioplaus.study import Study
from bioplaus.suite import Suite, TaskEntry
from bioplaus.task import Task, TaskData, read_task
from bioplaus.tuning import TuningPlan, choose, plan_tuning, tune, tuning_record
from bioplaus.turns import claimed

JOURNAL = "tuning.journal"
"""The file in a results folder where trials are kept, unless another storage is named."""


@dataclass(frozen=True)
class Place:
    """Where things run and are kept."""

    store: Store
    device: str = "cpu"
    storage: str | None = None

    def study(self, plan: TuningPlan) -> Study:
        """The trials of a plan, from the storage."""
        storage = self.storage or self.store.folder / JOURNAL
        return Study(plan.key, plan.space, plan.start, plan.budget.trials, storage)


@dataclass
class Entry:
    """One rule on one task, as a suite asks for it: tuned first, where it says so."""

    rule: str
    task: Task
    data: TaskData
    settings: dict[str, object]
    precision: str
    seeds: Sequence[int]
    budget: TuningBudget | None

    @cached_property
    def base(self) -> Experiment:
        """The experiment before any tuning."""
        return configure(self.rule, self.task, self.settings, self.precision)

    @property
    def title(self) -> str:
        """A few words for people."""
        return f"{self.rule} on {self.task.name} {self.base.label}".rstrip()

    @cached_property
    def tuning(self) -> TuningPlan | None:
        """How it is tuned, if it is."""
        if self.budget is None:
            return None
        settings = {k: v for k, v in self.settings.items() if k != "task.epochs"}
        return plan_tuning(self.rule, self.task, settings, self.budget, self.data, self.precision)

    def chosen(self, store: Store) -> dict[str, object] | None:
        """The settings that an earlier tuning chose, {} without tuning; None where none has."""
        if self.tuning is None:
            return {}
        found = self.tuned_before(store)
        return None if found is None else found.chosen

    def tuned_before(self, store: Store) -> Tuning | None:
        """What came of an earlier tuning; None where there was none."""
        assert self.tuning is not None
        try:
            return read_tuning(store.tuning_path(self.task.name, self.rule, self.tuning.key))
        except RecordError:
            return None

    def cell(self, store: Store, chosen: dict[str, object]) -> Cell:
        """The records of the configuration with those settings."""
        experiment = configure(self.rule, self.task, {**self.settings, **chosen}, self.precision)
        return Cell(experiment, store, experiment.configuration(self.data))


@dataclass(frozen=True)
class Left:
    """What of an entry is still to run."""

    entry: Entry
    trials: int
    seeds: tuple[int, ...]


@dataclass
class Benchmark:
    """A suite's entries, and what of it cannot run."""

    suite: Suite
    entries: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """What cannot run and why, one line each."""


@dataclass
class Done:
    """What became of a benchmark."""

    records: list[Record] = field(default_factory=list)
    reused: int = 0
    failures: list[Failure] = field(default_factory=list)

    def of(self, found: ResultSet) -> ResultSet:
        """What of a folder's content this benchmark is about."""
        cells = {r.cell for r in self.records} | {f.cell for f in self.failures}
        return ResultSet(
            [r for r in found.records if r.cell in cells],
            [t for t in found.tunings if t.cell in cells],
            found.damaged,
            [f for f in found.failures if f.cell in cells],
        )


def expand(suite: Suite) -> Benchmark:
    """Every rule on every task, checked in full before anything runs.

    Data that are missing, and rules that cannot train a task's network, are skipped and
    named; a mistake in the suite raises.
    """
    benchmark = Benchmark(suite)
    missing: dict[str, list[str]] = {}  # why data could not be had -> the tasks that want them
    unread: dict[str, str] = {}
    for entry in suite.tasks:
        task, common = _task(entry, suite)
        changed = task.updated(common) if common else task
        if changed.dataset not in unread:
            try:
                data = load_data(changed)
            except DataError as error:
                unread[changed.dataset] = str(error)
        if changed.dataset in unread:
            missing.setdefault(unread[changed.dataset], []).append(task.name)
        else:
            _add_rules(benchmark, suite, task, data, common)
    benchmark.skipped[:0] = [f"{', '.join(names)}: {why}" for why, names in missing.items()]
    return benchmark


def _task(entry: TaskEntry, suite: Suite) -> tuple[Task, dict[str, object]]:
    """The task as its file has it, and the fields that the suite changes."""
    epochs = {} if suite.epochs is None else {"epochs": suite.epochs}
    return read_task(entry.task), {**epochs, **entry.set}


def _add_rules(
    benchmark: Benchmark, suite: Suite, task: Task, data: TaskData, common: dict[str, object]
) -> None:
    changed = task.updated(common) if common else task
    budget = suite.tuning.budget(changed.epochs) if suite.tuning is not None else None
    for asked, _ in suite.rule_entries():
        settings: dict[str, object] = {f"task.{name}": value for name, value in common.items()}
        settings |= _quick(asked.rule) if suite.quick else {}
        settings |= asked.set
        entry = Entry(asked.rule, task, data, settings, suite.precision, suite.seeds, budget)
        try:
            _ = entry.base, entry.tuning
        except UnsupportedError as error:
            benchmark.skipped.append(str(error))
        else:
            benchmark.entries.append(entry)


def _quick(rule: str) -> dict[str, object]:
    from bioplaus import registry

    return dict(registry.load("rule", rule).quick)


def left(benchmark: Benchmark, place: Place) -> list[Left]:
    """What is missing, in the order of the suite; changes nothing."""
    found = []
    for entry in benchmark.entries:
        chosen = entry.chosen(place.store)
        if chosen is None:
            assert entry.budget is not None
            found.append(Left(entry, entry.budget.trials, tuple(entry.seeds)))
        else:
            cell = entry.cell(place.store, chosen)
            missing = tuple(s for s in entry.seeds if not cell.has(s, False))
            if missing:
                found.append(Left(entry, 0, missing))
    return found


def work(entry: Entry, place: Place, done: Done) -> Work:
    """All that an entry takes: yields steps to run, and is resumed when they have run.

    Says `Later` where another process is at work on it.
    """
    chosen = entry.chosen(place.store)
    if chosen is None:
        found: list[Tuning] = []
        try:
            yield from tuned(entry, place, found)
        except RecordError:
            raise  # what cannot be kept need not be trained
        except BioplausError as error:
            _fail(entry.cell(place.store, {}), entry.seeds, str(error), place, done)
            return
        chosen = found[0].chosen
        _forget_failure(entry.cell(place.store, {}))
    yield from _train(entry.cell(place.store, chosen), entry.seeds, place, done)


def tuned(entry: Entry, place: Place, found: list[Tuning]) -> Work:
    """The tuning of an entry, written when it is done and put into `found`.

    Where it is there already, that one.
    """
    plan = entry.tuning
    if plan is None:
        raise ConfigError(f"{entry.title} is not to be tuned")
    store = place.store
    claim = store.tuning_claim(entry.task.name, entry.rule, plan.key)
    with (yield from claimed(claim, store.claims, f"the tuning of {entry.title}")):
        tuning = entry.tuned_before(store)
        if tuning is None:
            folder = store.checkpoints_of_tuning(entry.task.name, entry.rule, plan.key)
            study = place.study(plan)
            trials = yield from tune(plan, study, place.device, folder)
            cell = entry.cell(store, choose(trials).settings)
            tuning = store.publish(
                tuning_record(plan, trials, cell.digest, place.device, study.losses())
            )
            shutil.rmtree(folder, ignore_errors=True)
    found.append(tuning)


def _train(cell: Cell, seeds: Sequence[int], place: Place, done: Done) -> Work:
    """The records of a cell: those that are there, and the rest from jobs.

    A failure that another process met meanwhile is not tried again.
    """
    claims, before = cell.store.claims, _failure(cell)
    if missing := cell.missing(seeds, False, False):
        with (yield from claimed(cell.claim, claims, cell.title)):
            failure = _failure(cell)
            if failure is not None and failure != before and set(missing) <= set(failure.seeds):
                done.failures.append(failure)
            else:
                yield from _train_claimed(cell, seeds, place, done)
    else:
        claims.tidy(cell.claim)
        _reuse(cell, seeds, done)


def _reuse(cell: Cell, seeds: Sequence[int], done: Done) -> list[Record]:
    there = [cell.read(seed) for seed in sorted(seeds)]
    done.records += there
    done.reused += len(there)
    return there


def _train_claimed(cell: Cell, seeds: Sequence[int], place: Place, done: Done) -> Work:
    missing = cell.missing(seeds, False, False)
    there = _reuse(cell, sorted(set(seeds) - set(missing)), done)

    def keep(wanted: Iterable[int]) -> Callable[[list[Record]], None]:
        def write(records: list[Record]) -> None:
            for record in records:
                if record.seed in wanted:
                    done.records.append(place.store.publish(record))
            _forget_failure(cell)

        return write

    steps = []
    for group, wanted in seed_groups(missing, there):
        job = CellJob(cell.experiment, group, place.device, cell.folder)
        steps.append(
            Step(job, keep(wanted), lambda reason: _fail(cell, missing, reason, place, done))
        )
    if steps:
        yield steps
    if all(cell.has(s, False) for s in missing):
        remove_checkpoints(cell.folder)


def _failure(cell: Cell) -> Failure | None:
    """Why the cell failed, if it did, as its file says."""
    experiment = cell.experiment
    path = cell.store.failure_path(experiment.task.name, experiment.rule.name, cell.digest)
    try:
        return read_failure(path)
    except RecordError:
        return None


def _forget_failure(cell: Cell) -> None:
    """A cell that has succeeded has not failed."""
    experiment = cell.experiment
    path = cell.store.failure_path(experiment.task.name, experiment.rule.name, cell.digest)
    path.unlink(missing_ok=True)


def seed_groups(
    missing: Sequence[int], there: Iterable[Record]
) -> list[tuple[tuple[int, ...], frozenset[int]]]:
    """Which seeds to train together, and which of them to keep.

    A seed whose group was being written when a run was killed trains with the same group
    again, so that its record is the same to the last bit; the others train as one group.
    """
    left = set(missing)
    groups = []
    for record in there:
        together = record.provenance.get("seeds_together")
        again = left & set(together) if isinstance(together, list) else set()
        if again:
            groups.append((tuple(sorted(map(int, together or ()))), frozenset(again)))
            left -= again
    return [*groups, *([(tuple(sorted(left)), frozenset(left))] if left else [])]


def _fail(cell: Cell, seeds: Sequence[int], reason: str, place: Place, done: Done) -> None:
    import torch

    experiment = cell.experiment
    failure = Failure(
        cell=cell.digest,
        task=experiment.task.name,
        rule=experiment.rule.name,
        label=experiment.label,
        seeds=list(seeds),
        reason=reason,
        configuration=cell.configuration,
        provenance=provenance(torch.device(place.device), 1, seeds),
    )
    place.store.write(failure)
    done.failures.append(failure)
