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


@pytest.mark.parametrize("part", range(4))
def test_a_kill_after_any_line_of_the_journal_changes_no_trial(tmp_path: Path, part: int) -> None:
    """The journal only grows: between two parameters of a trial too, what is there is a start.

    Half a line is what a write that was cut off leaves.
    """
    storage = tmp_path / "whole.journal"
    whole = finish(lambda: study(storage, trials=12))
    lines = storage.read_bytes().splitlines(keepends=True)
    assert len(lines) > 12 * (2 + len(SPACE)), "a line for each trial, its parameters, its end"
    for count in range(1 + part, len(lines), 4):
        killed = tmp_path / f"{count}.journal"
        killed.write_bytes(b"".join(lines[:count]) + lines[count][: len(lines[count]) // 2])
        assert finish(lambda path=killed: study(path, trials=12)) == whole  # type: ignore[misc]
