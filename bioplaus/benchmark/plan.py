"""A benchmark: the cells of a suite, and what of it is missing.

A cell is one rule, fully configured, on one task. Its records are the cache: what has one
is not run again. Where the suite tunes, a cell's configuration is chosen first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bioplaus.benchmark.optuna_study import Study
from bioplaus.benchmark.suite import Suite
from bioplaus.benchmark.tuning import TuningPlan, check_tunable, plan_tuning
from bioplaus.errors import ConfigError, DataError, PluginError, UnsupportedError
from bioplaus.experiments.experiment import Experiment, configure
from bioplaus.plugins.rules import rule_class
from bioplaus.records.keys import digest
from bioplaus.records.reading import NewerError
from bioplaus.records.refusals import Refusal
from bioplaus.records.schema import Tuning, TuningBudget
from bioplaus.records.store import Store
from bioplaus.running.edited_rules import edited
from bioplaus.running.seed_records import SeedRecords
from bioplaus.tasks.data_cache import load_data
from bioplaus.tasks.layer_plugins import versions
from bioplaus.tasks.task import Task, TaskData, read_task
from bioplaus.training.configurations import most_together

JOURNAL = "tuning.journal"
"""The file in a results folder where trials are kept, unless another storage is named."""


@dataclass(frozen=True)
class Place:
    """Where things run and are kept."""

    store: Store
    device: str = "cpu"
    storage: str | None = None
    max_replicas: int | None = None
    """Seeds of a cell in one job at most; None for as many as are quicker together than apart."""

    def study(self, plan: TuningPlan) -> Study:
        """The trials of a plan, from the storage."""
        storage = self.storage or self.store.folder / JOURNAL
        return Study(
            plan.key,
            plan.space,
            plan.start,
            plan.budget.trials,
            storage,
            plan.metric.lower_is_better,
        )

    def together(self, experiment: Experiment) -> int:
        """How many seeds of an experiment one job trains at most."""
        return self.max_replicas or most_together(experiment, self.device.partition(":")[0])


@dataclass
class Entry:
    """One rule on one task, as a suite asks for it: tuned first, where it says so."""

    rule: str
    task: Task
    data: TaskData | None
    """None in a plan that is only looked at: nothing of it can be trained."""
    settings: dict[str, object]
    precision: str
    seeds: Sequence[int]
    budget: TuningBudget | None
    study: int | None = None
    """The seed that it is tuned for, where every seed has a tuning of its own."""

    @cached_property
    def base(self) -> Experiment:
        """The experiment before any tuning."""
        return configure(self.rule, self.task, self.settings, self.precision)

    @property
    def title(self) -> str:
        """A few words for people."""
        own = "" if self.study is None else f", seed {self.study}"
        return f"{self.rule} on {self.task.name} {self.base.label}".rstrip() + own

    @cached_property
    def tuning(self) -> TuningPlan | None:
        """How it is tuned, if it is."""
        if self.budget is None:
            return None
        settings = {k: v for k, v in self.settings.items() if k != "task.epochs"}
        return plan_tuning(
            self.rule, self.task, settings, self.budget, self.there, self.precision, self.study
        )

    @property
    def there(self) -> TaskData:
        """The data, where it is not a plan without them."""
        assert self.data is not None, "a plan without data is only looked at"
        return self.data

    def chosen(self, store: Store) -> dict[str, object] | None:
        """The settings that an earlier tuning chose, {} without tuning; None where none has."""
        if self.tuning is None:
            return {}
        found = self.tuned_before(store)
        return None if found is None else found.chosen

    def tuned_before(self, store: Store) -> Tuning | None:
        """What came of an earlier tuning; None where there was none.

        NewerError where a newer bioplaus wrote it.
        """
        assert self.tuning is not None
        path = store.tuning_path(self.task.name, self.rule, self.tuning.key)
        there = store.standing(path)
        return there if isinstance(there, Tuning) else None

    def cell(self, store: Store, chosen: dict[str, object]) -> SeedRecords:
        """The records of the configuration with those settings."""
        experiment = configure(self.rule, self.task, {**self.settings, **chosen}, self.precision)
        return SeedRecords(experiment, store, experiment.configuration(self.there))


@dataclass(frozen=True)
class Left:
    """What of an entry is still to run."""

    entry: Entry
    trials: int
    seeds: tuple[int, ...]
    refused: str = ""
    """Why it will not run after all: a newer bioplaus, or another source of the rule, wrote what
    is there."""


@dataclass
class Benchmark:
    """A suite's entries, and what of it cannot run."""

    suite: Suite
    entries: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """What cannot run and why, one line each."""
    refusals: list[Refusal] = field(default_factory=list)
    """Those of the skipped that no rule's settings or machine can mend."""
    broken: dict[str, str] = field(default_factory=dict)
    """Rules and tasks whose plugins are broken, and how; each is one of `skipped` too."""

    def leave_out(self, name: str, error: PluginError) -> None:
        """A broken plugin costs what it would have run, and is told once."""
        if name not in self.broken:
            self.broken[name] = str(error)
            self.skipped.append(f"{name}: {error}")

    @property
    def failed(self) -> list[str]:
        """What is wrong with the broken ones that the suite names, not in its `all`."""
        named = {entry.rule for entry in self.suite.rules} | {e.task for e in self.suite.tasks}
        return [why for name, why in self.broken.items() if name in named]


def expand(suite: Suite, needs_data: Callable[[Task], bool] = lambda task: True) -> Benchmark:
    """Every rule on every task, checked in full before anything runs.

    Data that are missing, rules that cannot train a task's network, and plugins that are
    broken are skipped and named; a mistake in the suite raises. needs_data: where it says no,
    a plan will do, and nothing is read.
    """
    benchmark = Benchmark(suite)
    missing: dict[str, list[str]] = {}  # why data could not be had -> the tasks that want them
    unread: dict[tuple[str, int | None], str] = {}
    for entry, common in suite.variants():
        try:
            task = read_task(entry.task)
            if versions(task.content()):
                task.build_network()  # what a plugin's layer raises is the task's fault, no rule's
        except PluginError as error:
            benchmark.leave_out(entry.task, error)
            continue
        changed = task.updated(common) if common else task
        if not needs_data(changed):
            _add_rules(benchmark, suite, task, None, common)
            continue
        wanted = changed.dataset, changed.train_examples
        if wanted not in unread:
            try:
                data = load_data(changed)
            except PluginError as error:
                benchmark.leave_out(entry.task, error)
                continue
            except DataError as error:
                unread[wanted] = str(error)
        if wanted in unread:
            missing.setdefault(unread[wanted], []).append(task.name)
        else:
            _add_rules(benchmark, suite, task, data, common)
    benchmark.skipped[:0] = [f"{', '.join(names)}: {why}" for why, names in missing.items()]
    _check_each_once(benchmark)
    return benchmark


def _check_each_once(benchmark: Benchmark) -> None:
    """ConfigError where two entries are one experiment, however the suite writes them."""
    there: set[str] = set()
    for entry in benchmark.entries:
        base = entry.base
        # as validated, not as written: what is left out and what says the default are one
        asked = digest(
            {
                "task": [base.task.name, base.task.epochs, base.task.content()],
                "rule": [base.rule.name, base.rule.config.model_dump(mode="json")],
                "optimizers": [o and o.model_dump() for o in (base.optimizer, base.aux_optimizer)],
                "study": entry.study,
            }
        )
        if asked in there:
            raise ConfigError(
                f"suite {benchmark.suite.name}: {entry.title} is there twice: two of its rules, "
                "tasks or swept values come to the same; leave one out"
            )
        there.add(asked)


def _add_rules(
    benchmark: Benchmark,
    suite: Suite,
    task: Task,
    data: TaskData | None,
    common: dict[str, object],
) -> None:
    changed = task.updated(common) if common else task
    budget = suite.tuning.budget(changed.epochs) if suite.tuning is not None else None
    for asked in suite.rule_entries():
        settings: dict[str, object] = {f"task.{name}": value for name, value in common.items()}
        try:
            settings |= _quick(asked.rule) if suite.quick else {}
            settings |= asked.set
            entries = [
                Entry(asked.rule, task, data, settings, suite.precision, seeds, budget, study)
                for study, seeds in _studies(suite)
            ]
            _ = entries[0].base
            check_tunable(changed, budget)
            _ = entries[0].tuning if data is not None else None
        except UnsupportedError as error:
            benchmark.skipped.append(str(error))
            benchmark.refusals.append(Refusal(task.name, asked.rule, error.reason))
        except PluginError as error:
            benchmark.leave_out(asked.rule, error)
        else:
            benchmark.entries += entries


def _studies(suite: Suite) -> list[tuple[int | None, Sequence[int]]]:
    """The seeds that each tuning is for: all of them, or where the suite says so one each."""
    if suite.tuning is None or not suite.tuning.each_seed:
        return [(None, suite.seeds)]
    return [(seed, (seed,)) for seed in suite.seeds]


def _quick(rule: str) -> dict[str, object]:
    quick = rule_class(rule).quick
    if not isinstance(quick, Mapping):
        raise PluginError(f"the rule {rule!r}: `quick` is no mapping of options to values")
    return dict(quick)


def left(benchmark: Benchmark, place: Place) -> list[Left]:
    """What is missing, in the order of the suite; changes nothing."""
    found = []
    for entry in benchmark.entries:
        try:
            item = _left(entry, place.store)
        except NewerError as error:
            item = Left(entry, 0, (), str(error))
        if item.trials or item.seeds or item.refused:
            found.append(item)
    return found


def _left(entry: Entry, store: Store) -> Left:
    if entry.data is None:
        return Left(entry, entry.budget.trials if entry.budget else 0, tuple(entry.seeds))
    chosen = entry.chosen(store)
    if chosen is None:
        assert entry.budget is not None
        return Left(entry, entry.budget.trials, tuple(entry.seeds))
    cell = entry.cell(store, chosen)
    if reason := edited(cell):
        return Left(entry, 0, (), reason)
    return Left(entry, 0, tuple(s for s in entry.seeds if not cell.has(s, False)))
