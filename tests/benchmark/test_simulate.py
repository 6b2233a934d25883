"""The simulated schedule keeps what is proved of every greedy one."""

from __future__ import annotations

from fractions import Fraction

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from bioplaus.benchmark.estimate import setups, wave_sizes
from bioplaus.benchmark.optuna_study import FIRST_WAVE, LATER_WAVES
from bioplaus.benchmark.simulate import simulate
from bioplaus.cli import main
from bioplaus.records.schema import Timing
from tests.helpers.records import make_record

# whole seconds add up exactly in floating point, so every bound can be checked to the last bit
WORKS = st.lists(
    st.lists(st.lists(st.integers(0, 1000).map(float), max_size=6), max_size=4), max_size=8
)
WORKERS = st.integers(1, 12)


@given(WORKS, WORKERS)
def test_no_schedule_is_shorter_than_its_path_or_its_work(
    works: list[list[list[float]]], workers: int
) -> None:
    found = simulate(works, workers)
    path = max((sum(max(wave) for wave in work if wave) for work in works), default=0.0)
    total = sum(second for work in works for wave in work for second in wave)
    assert (found.critical_path, found.total) == (path, total)
    assert found.seconds >= path and found.seconds * workers >= total
    assert 0 <= found.utilisation <= 1


@given(WORKS, WORKERS)
def test_grahams_bound(works: list[list[list[float]]], workers: int) -> None:
    found = simulate(works, workers)
    m = Fraction(workers)
    bound = Fraction(found.total) / m + (1 - 1 / m) * Fraction(found.critical_path)
    assert Fraction(found.seconds) <= bound
    least = max(Fraction(found.critical_path), Fraction(found.total) / m)
    assert Fraction(found.seconds) <= (2 - 1 / m) * least


@given(WORKS)
def test_one_worker_takes_the_sum_and_many_the_critical_path(
    works: list[list[list[float]]],
) -> None:
    alone = simulate(works, 1)
    assert alone.seconds == alone.total
    # as many as there are jobs and pieces: nobody waits for a worker
    crowd = simulate(works, max(1, alone.jobs + len(works)))
    assert crowd.seconds == crowd.critical_path


@given(WORKS, WORKERS, st.integers(0, 5))
@settings(max_examples=30)
def test_time_has_no_unit(works: list[list[list[float]]], workers: int, power: int) -> None:
    scaled = [[[s * 2.0**power for s in wave] for wave in work] for work in works]
    assert simulate(scaled, workers).seconds == simulate(works, workers).seconds * 2.0**power


def test_a_wave_waits_for_the_whole_wave_before() -> None:
    # two workers: 3 and 1 together, then 2 after the 3; the other piece fills the gap
    found = simulate([[[3.0, 1.0], [2.0]], [[4.0]]], 2)
    assert (found.seconds, found.critical_path, found.critical) == (5.0, 5.0, 0)
    assert found.utilisation == pytest.approx(1.0)
    assert simulate([], 3).seconds == 0.0 and simulate([], 3).critical is None


@given(st.integers(1, 200))
def test_waves_of_trials_are_those_of_the_study(trials: int) -> None:
    sizes = wave_sizes(trials)
    assert sum(sizes) == trials and sizes[0] == min(FIRST_WAVE, trials)
    assert all(size == LATER_WAVES for size in sizes[1:-1])


def test_setting_up_is_counted_for_each_job() -> None:
    timing = Timing(
        group_train_seconds=1, group_evaluation_seconds=0, group_size=1, train_seconds=1,
        setup_seconds=3.0,
    )  # fmt: skip
    assert setups([make_record(task="t", rule="r", timing=timing)]) == {("t", "r"): 3.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nodes", "2"], "--nodes simulates machines; add --dry-run"),
        (["--dry-run", "--gpus-per-node", "2"], "--gpus-per-node says what a node has"),
    ],
)
def test_mistakes_get_one_line(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(main, ["bench", "quick", *arguments])
    assert done.exit_code == 1 and message in done.stderr and "Traceback" not in done.output
