"""Tuning: an equal budget, kept however it ends, and deaf to the test split."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch

from bioplaus import tasks
from bioplaus.benchmark.driver import Spectator, drive
from bioplaus.benchmark.jobs import Attempt, TrialJob, failed_trial, finished_trial
from bioplaus.benchmark.plan import Entry, Place
from bioplaus.benchmark.tuning import FIRST_SEED, TuningError, TuningPlan, choose, plan_tuning
from bioplaus.benchmark.work import tuned
from bioplaus.errors import ConfigError, PluginError, UnsupportedError
from bioplaus.experiments.experiment import configure
from bioplaus.learning.rule import LearningRule
from bioplaus.learning.search_space import Around, Choice, LogUniform, SearchSpace
from bioplaus.plugins import registry
from bioplaus.records.reading import read_tuning
from bioplaus.records.schema import Tuning, TuningBudget
from bioplaus.records.store import Store
from bioplaus.tasks import data_cache as job_data
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import read_task
from tests.helpers.inline import InlineExecutor

BUDGET = TuningBudget(trials=3, seeds=2, epochs=1)


def plan_for(tiny: Path, rule: str = "backprop", **settings: object) -> TuningPlan:
    task = read_task(str(tiny))
    return plan_tuning(rule, task, settings, BUDGET, task.load_training_data())


def tune_on(tiny: Path, folder: Path, rule: str = "backprop") -> tuple[Tuning, InlineExecutor]:
    task = read_task(str(tiny))
    entry = Entry(rule, task, task.load_data(), {}, "fp32", [0], BUDGET)
    found: list[Tuning] = []
    executor = InlineExecutor()
    drive([tuned(entry, Place(Store(folder)), found)], executor, Spectator())
    return found[0], executor


def test_a_tuning_is_written_with_its_budget_and_every_trial(tiny: Path, tmp_path: Path) -> None:
    tuning, executor = tune_on(tiny, tmp_path / "r")
    path = tmp_path / "r" / "tiny" / "backprop" / f"tuning-{tuning.key[:16]}.json"
    assert read_tuning(path) == tuning
    assert Store(tmp_path / "r").read_all().tunings == [tuning]
    assert tuning.budget == BUDGET
    assert [t.number for t in tuning.trials] == [0, 1, 2]
    assert tuning.trials[0].settings == {}, "the default is among what is tried"
    assert all(len(t.seeds) == BUDGET.seeds for t in tuning.trials)
    best = max(tuning.trials, key=lambda t: t.validation_accuracy or 0)
    assert tuning.chosen == best.settings
    jobs = [job for job in executor.jobs if isinstance(job, TrialJob)]
    assert {job.seeds for job in jobs} == {(FIRST_SEED, FIRST_SEED + 1)}
    attempts = [attempt for job in jobs for attempt in job.attempts]
    assert {a.experiment.task.epochs for a in attempts} == {BUDGET.epochs}


def test_the_test_split_cannot_influence_a_tuning(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong labels and other pictures in the test split: the same trials, the same choice."""
    honest, _ = tune_on(tiny, tmp_path / "a")
    digits = registry.load("dataset", "digits")
    real = digits.load

    def poisoned(self: object, split: str) -> Split:
        examples: Split = real(self, split)
        if split == "test":
            return Split(examples.x.flip(0), torch.full_like(examples.y, 3))
        return examples

    monkeypatch.setattr(digits, "load", poisoned)
    job_data.clear()
    fooled, _ = tune_on(tiny, tmp_path / "b")
    assert (fooled.key, fooled.trials, fooled.chosen) == (honest.key, honest.trials, honest.chosen)
    job_data.clear()
    assert fooled.cell != honest.cell, "the records of the winner are on other test data"


def test_a_trial_does_not_read_the_test_split(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = registry.load("dataset", "digits")
    real = digits.load

    def guarded(self: object, split: str) -> Split:
        assert split != "test", "a trial has read the test split"
        examples: Split = real(self, split)
        return examples

    monkeypatch.setattr(digits, "load", guarded)
    job_data.clear()
    plan = plan_for(tiny)
    job = TrialJob((Attempt(0, (), plan.experiment({})),), plan.seeds, "cpu")
    (trial,) = job.run(lambda progress: None)
    assert trial.validation_accuracy is not None and trial.validation_accuracy > 0.1


def test_a_task_without_a_validation_split_is_refused() -> None:
    task = read_task("digits-square").updated({"validation": 0})
    with pytest.raises(ConfigError, match=r"no validation split.*validation = 287"):
        plan_tuning("backprop", task, {}, BUDGET, task.load_training_data())


def test_what_is_set_is_not_searched(tiny: Path) -> None:
    assert list(plan_for(tiny, "gaitprop").space) == ["optimizer.lr", "ortho"]
    assert list(plan_for(tiny, "gaitprop", ortho=0.5).space) == ["optimizer.lr"]
    with pytest.raises(ConfigError, match="nothing left to tune"):
        plan_for(tiny, "backprop", **{"optimizer.lr": 1e-3})


@pytest.mark.parametrize("name", registry.names("rule"))
def test_every_rule_declares_a_space_around_its_default(name: str) -> None:
    rule: type[LearningRule] = registry.load("rule", name)  # type: ignore[type-arg]
    for task in (read_task(t) for t in tasks.names() if t.startswith("digits")):
        with contextlib.suppress(UnsupportedError):
            configure(name, task, {})
            break
    plan = plan_tuning(name, task, {}, BUDGET, task.load_training_data())
    assert 1 <= len(plan.space) <= 3 and "optimizer.lr" in plan.space
    for settings in (
        {setting: dimension.at(u) for setting, dimension in plan.space.items()} for u in (0.0, 1.0)
    ):
        plan.experiment(settings)
    configure(name, task, rule.quick)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"optimizer.lr": LogUniform(1, 2)}, "its default 0.001 is not in the range"),
        ({"ortho": Choice((1.0, 2.0))}, "its default 0.1 is not in the range: one of 1.0, 2.0"),
        ({"orto": Around(1.0)}, "there is no setting 'orto'"),
        ({"form": Around(1.0)}, "no range around the default 'difference'"),
    ],
)
def test_a_bad_search_space_is_named(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, space: SearchSpace, message: str
) -> None:
    rule = registry.load("rule", "gaitprop")
    monkeypatch.setattr(rule, "search_space", property(lambda self: space))
    with pytest.raises(PluginError, match=message):
        plan_for(tiny, "gaitprop")


def test_the_choice_is_the_best_and_of_equals_the_first() -> None:
    scores = [0.5, 0.9, 0.9, None]
    trials = [
        failed_trial(n, {}, "broke", 1) if s is None else finished_trial(n, {}, [s])
        for n, s in enumerate(scores)
    ]
    assert choose(trials).number == 1
    assert choose(trials[::-1]).number == 1
    with pytest.raises(TuningError, match="all 1 trials failed; the first: broke"):
        choose(trials[3:])


def test_a_diverged_seed_counts_nothing() -> None:
    assert finished_trial(0, {}, [0.9, None, 0.6]).validation_accuracy == pytest.approx(0.5)


def test_a_configuration_that_cannot_be_is_a_failed_trial(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = registry.load("rule", "gaitprop")
    space = {"form": Choice(("difference", "no such form"))}
    monkeypatch.setattr(rule, "search_space", property(lambda self: space))
    tuning, _ = tune_on(tiny, tmp_path / "r", "gaitprop")
    failed = [t for t in tuning.trials if t.status == "failed"]
    assert failed and all("no such form" in t.reason for t in failed)
    assert len(tuning.trials) == BUDGET.trials
    assert tuning.chosen in ({}, {"form": "difference"})
