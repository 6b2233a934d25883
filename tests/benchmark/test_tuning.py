"""Tuning: an equal budget, kept however it ends, and deaf to the test split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bioplaus import tasks
from bioplaus.benchmark.driver import Spectator, drive
from bioplaus.benchmark.jobs import Attempt, TrialJob, failed_trial, finished_trial
from bioplaus.benchmark.optuna_study import FIRST_WAVE, LATER_WAVES, Study
from bioplaus.benchmark.plan import Entry, Place
from bioplaus.benchmark.tuning import FIRST_SEED, TuningError, TuningPlan, choose, plan_tuning
from bioplaus.benchmark.work import tuned
from bioplaus.errors import ConfigError, DataError, PluginError, RecordError
from bioplaus.experiments.experiment import Experiment, configure
from bioplaus.learning.batching import Replica
from bioplaus.learning.rule import LearningRule
from bioplaus.learning.search_space import Around, Choice, LogUniform, SearchSpace
from bioplaus.plugins import registry
from bioplaus.records.schema import Trial, Tuning, TuningBudget
from bioplaus.records.store import Store, read_tuning
from bioplaus.tasks import data_cache as job_data
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import TrainingData, read_task
from bioplaus.training.budget import budget as budget_of
from bioplaus.training.configurations import structure
from bioplaus.training.groups import prepared
from bioplaus.training.trainer import Trainer
from tests.helpers.inline import InlineExecutor

BUDGET = TuningBudget(trials=3, seeds=2, epochs=1)
KEY = "0" * 64
SPACE = {"optimizer.lr": LogUniform(1e-4, 1e-2), "mode": Choice(("a", "b"))}
START = {"optimizer.lr": 1e-3, "mode": "a"}


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
    with pytest.raises(ConfigError, match=r"no validation split.*validation = 5000"):
        plan_tuning("backprop", task, {}, BUDGET, task.load_training_data())


def test_what_is_set_is_not_searched(tiny: Path) -> None:
    assert list(plan_for(tiny, "gaitprop").space) == ["optimizer.lr", "ortho"]
    assert list(plan_for(tiny, "gaitprop", ortho=0.5).space) == ["optimizer.lr"]
    with pytest.raises(ConfigError, match="nothing left to tune"):
        plan_for(tiny, "backprop", **{"optimizer.lr": 1e-3})


@pytest.mark.parametrize("name", registry.names("rule"))
def test_every_rule_declares_a_space_around_its_default(name: str) -> None:
    rule: type[LearningRule] = registry.load("rule", name)  # type: ignore[type-arg]
    for task in map(read_task, tasks.names()):
        if task.dataset == "digits" and rule.configured().supports(task.build_network()) is None:
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


def score(number: int, settings: dict[str, object]) -> Trial:
    """As if trained: some trials fail, some diverge."""
    if number % 5 == 2:
        return failed_trial(number, settings, "planted", 1)
    if number % 5 == 3:
        return finished_trial(number, settings, [None])
    rate = settings.get("optimizer.lr", 1e-3)
    assert isinstance(rate, float)
    return finished_trial(number, settings, [1 / (1 + abs(rate - 3e-3))])


def study(storage: Path | str, trials: int = 17) -> Study:
    return Study(KEY, SPACE, START, trials, storage)


def finish(make: Callable[[], Study]) -> list[Trial]:
    made = make()
    while wave := made.next_wave():
        for number, settings in wave:
            made.tell(score(number, settings))
    return made.trials()


def test_a_search_that_is_killed_tries_the_same_trials(tmp_path: Path) -> None:
    whole = finish(lambda: study(tmp_path / "a.journal"))
    assert len(whole) == 17 and [t.number for t in whole] == list(range(17))
    for stop in range(0, 17, 2):
        storage = tmp_path / f"{stop}.journal"
        told = 0
        interrupted = study(storage)
        while told < stop:
            for number, settings in reversed(interrupted.next_wave()):
                if told < stop and not interrupted.is_done(number):
                    interrupted.tell(score(number, settings))
                    told += 1
        assert finish(lambda storage=storage: study(storage)) == whole  # type: ignore[misc]


def test_failed_and_diverged_trials_count(tmp_path: Path) -> None:
    trials = finish(lambda: study(tmp_path / "a.journal"))
    found = [t.status for t in trials]
    assert found.count("failed") == 3 and found.count("diverged") == 3
    assert [t.reason for t in trials if t.status == "failed"] == ["planted"] * 3
    assert all(t.validation_accuracy == 0 for t in trials if t.status == "diverged")
    best = choose(trials)
    assert best.validation_accuracy == max(t.validation_accuracy or 0 for t in trials)


def test_waves_are_of_known_sizes_and_inside_the_space(tmp_path: Path) -> None:
    made = study(tmp_path / "a.journal", trials=12)
    first = made.next_wave()
    assert len(first) == FIRST_WAVE and made.next_wave() == first
    assert first[0] == (0, {})
    for _, settings in first[1:]:
        rate = settings["optimizer.lr"]
        assert isinstance(rate, float) and 1e-4 <= rate <= 1e-2
        assert settings["mode"] in ("a", "b") and rate == float(f"{rate:.4g}")
    assert len({str(settings) for _, settings in first}) == FIRST_WAVE
    for number, settings in first:
        made.tell(score(number, settings))
    assert len(made.next_wave()) == min(2, LATER_WAVES)


def test_any_optuna_storage_will_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    assert finish(lambda: study(url)) == finish(lambda: study(tmp_path / "a.journal"))
    with pytest.raises(RecordError, match="cannot use the tuning storage nosuch://"):
        study("nosuch://here")


def test_half_a_line_in_the_journal_does_no_harm(tmp_path: Path) -> None:
    whole = finish(lambda: study(tmp_path / "a.journal"))
    made = study(tmp_path / "b.journal")
    for number, settings in made.next_wave()[:4]:
        made.tell(score(number, settings))
    with (tmp_path / "b.journal").open("a") as file:
        file.write('{"op_code": 6, "worker')
    assert finish(lambda: study(tmp_path / "b.journal")) == whole


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


@pytest.mark.parametrize("name", registry.names("rule"))
def test_trials_that_train_together_are_those_that_train_alone(name: str) -> None:
    """Learning rates, decays and options of their own: the same validation losses, in float64."""
    rule: type[LearningRule] = registry.load("rule", name)  # type: ignore[type-arg]
    for task in map(read_task, tasks.names()):
        if task.dataset == "digits" and rule.configured().supports(task.build_network()) is None:
            break
    data = task.load_training_data()
    few = replace(data, train=data.train[torch.arange(60)])
    task = task.updated({"batch_size": 20})
    budget = TuningBudget(trials=2, seeds=1, epochs=2)
    slow = ("steps", "free_steps", "nudged_steps")
    settings = {option: 3 for option in slow if option in rule.Config.model_fields}
    plan = plan_tuning(name, task, settings, budget, few, "fp64")
    point = {setting: dimension.at(0.3) for setting, dimension in plan.space.items()}
    experiments = [plan.default, plan.experiment(point)]
    assert len({structure(e) for e in experiments}) == 1, "some option is not stackable"
    together = trained_params(experiments, few, plan.seeds)
    for experiment, ours in zip(experiments, together, strict=True):
        (theirs,) = trained_params([experiment], few, plan.seeds)
        for parameter, tensor in theirs.items():
            assert torch.allclose(ours[parameter], tensor, rtol=1e-7, atol=1e-9), parameter
        assert len({float(t["1.weight"].sum()) for t in together}) == len(experiments)


def trained_params(
    experiments: Sequence[Experiment], data: TrainingData, seeds: Sequence[int]
) -> list[dict[str, torch.Tensor]]:
    """Each experiment's parameters after training, its seeds stacked."""
    first = experiments[0]
    replicas = [
        Replica(seed, e.rule, e.optimizer, e.aux_optimizer) for e in experiments for seed in seeds
    ]
    trainer = Trainer(
        first.rule,
        first.network,
        prepared(first, data, torch.device("cpu")),
        budget_of(first),
        [r.seed for r in replicas],
        each=replicas,
        probe=False,
    )
    trainer.train()
    size = len(seeds)
    return [
        {name: t[i : i + size].clone() for name, t in trainer.params.items()}
        for i in range(0, len(replicas), size)
    ]


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


def test_missing_data_is_the_data_sets_error(monkeypatch: pytest.MonkeyPatch) -> None:
    task = read_task("digits-square")

    def missing(self: object, split: str) -> Split:
        raise DataError("not here")

    monkeypatch.setattr(registry.load("dataset", "digits"), "load", missing)
    with pytest.raises(DataError, match="not here"):
        task.load_training_data()


def test_a_trial_whose_parameters_were_half_chosen_is_completed_the_same(tmp_path: Path) -> None:
    """As after a kill between two parameters, in the first wave and in a later one."""
    from bioplaus.benchmark.optuna_study import FIRST_WAVE, Study
    from bioplaus.learning.search_space import LogUniform, Uniform

    space = {"optimizer.lr": LogUniform(1e-4, 1e-2), "ortho": Uniform(0.0, 1.0)}
    start = {"optimizer.lr": 1e-3, "ortho": 0.1}

    def opened(name: str) -> Study:
        return Study("key", space, start, FIRST_WAVE + 2, tmp_path / name)

    def finish(study: Study, wave: list[tuple[int, dict[str, object]]]) -> None:
        for number, settings in wave:
            accuracy = 0.1 + 0.05 * number
            study.tell(finished_trial(number, settings, [accuracy]))

    whole = opened("whole")
    first = whole.next_wave()
    finish(whole, first)
    later = whole.next_wave()
    assert len(first) == FIRST_WAVE and len(later) == 2

    broken = opened("broken")
    broken._study.ask()  # its parameters are not asked for
    half = broken._study.ask()
    half._suggest("optimizer.lr", broken._distributions["optimizer.lr"])
    broken = opened("broken")
    assert broken.next_wave() == first
    finish(broken, first)
    broken._study.ask()
    broken = opened("broken")
    assert broken.next_wave() == later
