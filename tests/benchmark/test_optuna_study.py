"""Which configurations a tuning tries: the same ones, however often it is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bioplaus.benchmark.jobs import failed_trial, finished_trial
from bioplaus.benchmark.optuna_study import FIRST_WAVE, LATER_WAVES, Study
from bioplaus.benchmark.tuning import choose
from bioplaus.errors import RecordError
from bioplaus.learning.search_space import Choice, LogUniform
from bioplaus.records.schema import Trial


def test_a_journal_that_is_gone_is_one_line(tmp_path: Path) -> None:
    space = {"optimizer.lr": LogUniform(1e-4, 1e-2)}
    study = Study("key", space, {"optimizer.lr": 1e-3}, 3, tmp_path / "r" / "tuning.journal")
    (tmp_path / "r" / "tuning.journal").unlink()
    with pytest.raises(RecordError, match=r"tuning\.journal"):
        study.next_wave()


KEY = "0" * 64
SPACE = {"optimizer.lr": LogUniform(1e-4, 1e-2), "mode": Choice(("a", "b"))}
START = {"optimizer.lr": 1e-3, "mode": "a"}


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
