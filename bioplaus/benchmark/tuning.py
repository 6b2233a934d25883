"""Tuning: an equal budget for every rule, spent on the training data alone.

A trial trains a few seeds, which no benchmark uses, on the training split less the
validation split; its score is the mean validation accuracy after the last epoch, where a
seed that diverged counts 0. Of a task with another metric it is the mean of that, and a trial
with a seed that diverged has none. Trial 0 is the default configuration, so tuning never does
worse than that on the validation split. Failed and diverged trials count. No trial has
the test split in memory: see `bioplaus.benchmark.jobs.TrialJob`.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch

from bioplaus.benchmark.jobs import Attempt, TrialJob, failed_trial
from bioplaus.benchmark.optuna_study import Study
from bioplaus.benchmark.steps import JobStep
from bioplaus.errors import BioplausError, ConfigError, PluginError
from bioplaus.experiments.experiment import Experiment, configure
from bioplaus.learning.answers import space_of
from bioplaus.learning.search_space import Around, Choice, Dimension
from bioplaus.records.keys import digest
from bioplaus.records.metric import ACCURACY, Metric, metric_of_task
from bioplaus.records.schema import SCHEMA, Trial, Tuning, TuningBudget
from bioplaus.system.blame import blaming
from bioplaus.system.device import provenance
from bioplaus.system.secrets import redacted
from bioplaus.tasks.door import load_dataset
from bioplaus.tasks.layer_plugins import versions
from bioplaus.tasks.task import Task, TrainingData
from bioplaus.training.configurations import most_together, structure

FIRST_SEED = 1_000_000
"""Seeds of trials start here, those of benchmarks end before."""


class TuningError(BioplausError):
    """A tuning that can choose nothing."""


@dataclass(frozen=True)
class TuningPlan:
    """Everything that decides what a tuning tries, and so what it chooses."""

    rule: str
    task: Task
    settings: Mapping[str, object]
    """What is set already; such a setting is not searched."""
    precision: str
    budget: TuningBudget
    checksum: str
    """Of the training data: what is tried must not depend on the test split in any way."""
    study: int | None = None
    """The seed that it is made for, where every seed has its own."""

    @cached_property
    def default(self) -> Experiment:
        """Trial 0."""
        return self.experiment({})

    def experiment(self, settings: Mapping[str, object]) -> Experiment:
        """A trial with these settings besides those that are set."""
        changes = {**self.settings, **settings, "task.epochs": self.budget.epochs}
        return configure(self.rule, self.task, changes, self.precision)

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of every trial: none that a benchmark uses."""
        first = FIRST_SEED + (self.study or 0) * self.budget.seeds
        return tuple(range(first, first + self.budget.seeds))

    @cached_property
    def space(self) -> dict[str, Dimension]:
        """Setting -> range; without what is set already, or not there in this configuration.

        PluginError for a range that leaves out the default.
        """
        found = {}
        rule = self.default.rule
        with blaming(f"the rule {self.rule!r} cannot say its `search_space`", rule, own=True):
            dimensions = space_of(rule, self.default.optimizer)
        for name, dimension in dimensions.items():
            value = _current(self.default, name)
            if name in self.settings or value is None:
                continue
            try:
                resolved = dimension.of(value) if isinstance(dimension, Around) else dimension
                _check_inside(resolved, value)
            except ValueError as error:
                raise PluginError(f"the search space of {self.rule!r}: {name}: {error}") from None
            found[name] = resolved
        return found

    @cached_property
    def start(self) -> dict[str, object]:
        """The default's place in the space."""
        return {name: _current(self.default, name) for name in self.space}

    @cached_property
    def configuration(self) -> dict[str, object]:
        """All that the key covers."""
        default = self.default
        auxiliary = default.aux_optimizer
        return {
            "schema": SCHEMA,
            "task": default.task.content(),
            "data": {"checksums": {"train": self.checksum}},
            "rule": self.rule,
            "rule_version": default.rule.version,
            "options": default.rule.config.model_dump(mode="json"),
            "optimizer": default.optimizer.model_dump(mode="json", exclude_none=True),
            "aux_optimizer": auxiliary and auxiliary.model_dump(mode="json", exclude_none=True),
            "precision": self.precision,
            "budget": self.budget.model_dump(),
            "first_seed": FIRST_SEED,
            "space": {name: str(dimension) for name, dimension in self.space.items()},
            **({"layers": layers} if (layers := versions(default.task.content())) else {}),
            **({} if self.study is None else {"study": self.study}),
        }

    @property
    def metric(self) -> Metric:
        """What trials are judged by."""
        return metric_of_task(self.task.content())

    @property
    def key(self) -> str:
        """Names the tuning, in its file and in the storage."""
        return digest(self.configuration)


def check_tunable(task: Task, budget: TuningBudget | None) -> None:
    """ConfigError where it is to be tuned and has no validation split."""
    if budget is None or task.validation:
        return
    there = load_dataset(task.dataset).sizes.get("train", 1000)
    size = min(5000, there // 5, there - (task.train_examples or 0)) or 1
    raise ConfigError(
        f"{task.name} has no validation split to tune on; hold some training examples out, "
        f'in a suite with {{ task = "{task.name}", set = {{ validation = {size} }} }}, '
        f"with `bioplaus tune` by --set task.validation={size}"
    )


def plan_tuning(
    rule: str,
    task: Task,
    settings: Mapping[str, object],
    budget: TuningBudget,
    data: TrainingData,
    precision: str = "fp32",
    study: int | None = None,
) -> TuningPlan:
    """A tuning, checked in full; ConfigError where the task has no validation split.

    study: the seed that it is made for, where every seed has its own.
    """
    if data.validation is None:  # whatever the task has: the settings may have changed it
        check_tunable(task.model_copy(update={"validation": 0}), budget)
    checksum = data.checksums["train"]
    plan = TuningPlan(rule, task, dict(settings), precision, budget, checksum, study)
    if not plan.space:
        raise ConfigError(f"{rule} has nothing left to tune: all of its search space is set")
    return plan


def tune(
    plan: TuningPlan, study: Study, device: str, checkpoints: Path | None = None
) -> Generator[list[JobStep], None, list[Trial]]:
    """All trials, wave after wave: yields what to run, and gives the trials in the end.

    Each is kept in the study as soon as it is done, so a tuning that was killed goes on,
    and tries the same configurations. checkpoints: a folder for those of the trials.
    """

    while wave := study.next_wave():
        yield _steps(plan, study, wave, device, checkpoints)
    return study.trials()


def _steps(
    plan: TuningPlan,
    study: Study,
    wave: Sequence[tuple[int, dict[str, object]]],
    device: str,
    checkpoints: Path | None,
) -> list[JobStep]:
    """The jobs of a wave, trials of one structure together; none whose trials are all done."""

    def keep(trials: Sequence[Trial]) -> None:
        for trial in trials:
            study.tell(trial)

    groups: dict[str, list[Attempt]] = {}
    for number, settings in wave:
        try:
            experiment = plan.experiment(settings)
        except BioplausError as error:
            study.tell(failed_trial(number, settings, str(error), plan.budget.seeds))
        else:
            attempt = Attempt(number, tuple(settings.items()), experiment)
            groups.setdefault(structure(experiment), []).append(attempt)
    most = trials_together(plan.default, device, plan.budget.seeds)
    jobs = [
        TrialJob(tuple(group[start : start + most]), plan.seeds, device, checkpoints)
        for group in groups.values()
        for start in range(0, len(group), most)
    ]
    return [
        JobStep(job, keep, partial(_keep_failed, study, job), study.note_loss)
        for job in jobs
        if not all(study.is_done(attempt.number) for attempt in job.attempts)
    ]


def trials_together(experiment: Experiment, device: str, seeds: int) -> int:
    """How many trials of so many seeds one job trains at most."""
    return max(1, most_together(experiment, device.partition(":")[0]) // seeds)


def _keep_failed(study: Study, job: TrialJob, reason: str) -> None:
    for trial in _all_failed(job, reason):
        study.tell(trial)


def _all_failed(job: TrialJob, reason: str) -> list[Trial]:
    """The trials of a job that gave none: its worker died, say."""
    return [failed_trial(a.number, dict(a.settings), reason, len(job.seeds)) for a in job.attempts]


def choose(trials: Sequence[Trial], metric: Metric = ACCURACY) -> Trial:
    """The best on the validation split, of equals the first; TuningError where all failed."""
    scored = [t for t in trials if t.validation_accuracy is not None]
    if not scored:
        raise TuningError(
            f"all {len(trials)} trials failed; the first: {trials[0].reason or trials[0].status}"
        )
    return max(scored, key=lambda t: (metric.merit(t.validation_accuracy or 0.0), -t.number))


def tuning_record(
    plan: TuningPlan,
    trials: Sequence[Trial],
    cell: str,
    device: str,
    losses: Sequence[str] = (),
) -> Tuning:
    """The facts on a tuning that is done; `losses`: why workers that ran its trials were lost."""
    note = {"lost_attempts": [redacted(loss) for loss in losses]} if losses else {}
    return Tuning(
        key=plan.key,
        task=plan.task.name,
        rule=plan.rule,
        label=configure(plan.rule, plan.task, plan.settings, plan.precision).label,
        budget=plan.budget,
        space={name: str(dimension) for name, dimension in plan.space.items()},
        trials=sorted(trials, key=lambda t: t.number),
        chosen=choose(trials, plan.metric).settings,
        cell=cell,
        configuration=plan.configuration,
        provenance=provenance(torch.device(device), 1, plan.seeds) | note,
    )


def _current(experiment: Experiment, setting: str) -> object:
    """What a setting is in an experiment; None for nothing."""
    section, dot, name = setting.partition(".")
    if dot and section in ("optimizer", "aux_optimizer"):
        spec = getattr(experiment, section)
        if spec is not None and name.startswith("layer_rates."):
            return spec.rate_of(name.removeprefix("layer_rates."))
        return getattr(spec, name, None)
    if setting not in type(experiment.rule.config).model_fields:
        raise PluginError(
            f"the search space of {experiment.rule.name!r}: there is no setting {setting!r}"
        )
    return getattr(experiment.rule.config, setting)


def _check_inside(dimension: Dimension, value: object) -> None:
    """ValueError where the default is not among what would be tried."""
    if isinstance(dimension, Choice):
        inside = value in dimension.values
    else:
        low, high = dimension.at(0.0), dimension.at(1.0)
        inside = (
            isinstance(value, int | float)
            and isinstance(low, float)
            and isinstance(high, float)
            and math.isfinite(value)
            and low <= value <= high
        )
    if not inside:
        raise ValueError(f"its default {value!r} is not in the range: {dimension}")
