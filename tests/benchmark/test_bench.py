"""Benchmarks: only what is missing runs, whatever happened before."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from bioplaus import run
from bioplaus.analysis.report import Report
from bioplaus.benchmark.driver import Spectator, drive
from bioplaus.benchmark.estimate import in_words, seconds, speeds
from bioplaus.benchmark.jobs import CellJob, TrialJob
from bioplaus.benchmark.plan import Place, expand, left
from bioplaus.benchmark.steps import JobStep
from bioplaus.benchmark.suite import read_suite
from bioplaus.benchmark.work import Done, seed_groups, work
from bioplaus.cli import main
from bioplaus.errors import BioplausError, DataError
from bioplaus.plugins import registry
from bioplaus.records.schema import Curves, ResultSet
from bioplaus.records.store import Store
from bioplaus.running.seed_records import SeedRecords
from tests.helpers.command import BIOPLAUS
from tests.helpers.inline import InlineExecutor
from tests.helpers.records import make_record

TUNED = """
name = "mine"
rules = ["backprop", "gaitprop"]
tasks = ["tiny.toml"]
seeds = 2
epochs = 1

[tuning]
trials = 2
"""
PLAIN = TUNED.partition("[tuning]")[0]


def suite_file(tiny: Path, text: str = TUNED) -> Path:
    path = tiny.with_name("suite.toml")
    path.write_text(text)
    return path


def bench(
    suite: Path, results: Path, max_replicas: int | None = None
) -> tuple[Done, InlineExecutor]:
    place, done = Place(Store(results), max_replicas=max_replicas), Done()
    executor = InlineExecutor()
    entries = expand(read_suite(str(suite))).entries
    drive([work(entry, place, done) for entry in entries], executor, Spectator())
    return done, executor


def table(results: Path) -> str:
    """All that a run decides: the CSV without the seconds."""
    report: Report = registry.load("report", "csv")()
    found = Store(results).read_all()
    still = {"train_seconds": 1.0, "group_train_seconds": 1.0, "group_evaluation_seconds": 1.0}
    records = [
        r.model_copy(update={"timing": r.timing.model_copy(update=still)}) for r in found.records
    ]
    assert not found.damaged
    return report.render(ResultSet(records))


def facts(results: Path) -> dict[str, object]:
    """Every curve of every record, and every trial."""
    found = Store(results).read_all()
    return {r.key: r.curves for r in found.records} | {t.key: t.trials for t in found.tunings}


def test_tuned_first_then_trained_on_other_seeds(tiny: Path, tmp_path: Path) -> None:
    done, executor = bench(suite_file(tiny), tmp_path / "r")
    assert [type(job) for job in executor.jobs] == [TrialJob, CellJob] * 2
    seeds = [job.seeds for job in executor.jobs if isinstance(job, TrialJob | CellJob)]
    assert seeds == [(1_000_000,), (0, 1)] * 2
    found = Store(tmp_path / "r").read_all()
    assert sorted({t.cell for t in found.tunings}) == sorted({r.cell for r in found.records})
    assert {(t.budget.trials, t.budget.seeds, t.budget.epochs) for t in found.tunings} == {
        (2, 1, 1)
    }
    assert len(done.records) == 4 and not done.failures


def test_what_is_there_does_not_run_again(tiny: Path, tmp_path: Path) -> None:
    suite = suite_file(tiny)
    bench(suite, tmp_path / "r")
    again, executor = bench(suite, tmp_path / "r")
    assert not executor.jobs and (again.reused, len(again.records)) == (4, 4)
    suite.write_text(TUNED.replace("seeds = 2", "seeds = 3"))
    _, executor = bench(suite, tmp_path / "r")
    assert [(type(j), j.seeds) for j in executor.jobs if isinstance(j, CellJob)] == [
        (CellJob, (2,)),
        (CellJob, (2,)),
    ]
    assert len(executor.jobs) == 2


def test_rules_and_data_that_do_not_fit_are_named_and_the_rest_runs(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: object, split: str) -> object:
        raise DataError("kmnist is not here")

    monkeypatch.setattr(registry.load("dataset", "kmnist"), "load", missing)
    text = PLAIN.replace('["tiny.toml"]', '["tiny.toml", "kmnist-square", "kmnist-tower"]')
    text = text.replace('"gaitprop"', '"burstccn"')
    benchmark = expand(read_suite(str(suite_file(tiny, text))))
    assert [e.title for e in benchmark.entries] == ["backprop on tiny epochs=1"]
    data, rule = benchmark.skipped
    assert data == "kmnist-square, kmnist-tower: kmnist is not here"
    assert rule.startswith("burstccn cannot train on tiny: ")


def test_a_cell_that_raises_is_recorded_and_a_success_supersedes_it(
    tiny: Path, tmp_path: Path
) -> None:
    def broken(self: object, *args: object) -> None:
        raise ZeroDivisionError("planted")

    suite = suite_file(tiny, PLAIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry.load("rule", "backprop"), "deltas", broken)
        done, _ = bench(suite, tmp_path / "r")
    assert {r.rule for r in done.records} == {"gaitprop"}
    (failure,) = Store(tmp_path / "r").read_all().failures
    assert (failure.rule, failure.seeds) == ("backprop", [0, 1])
    assert "ZeroDivisionError: planted" in failure.reason
    bench(suite, tmp_path / "r")
    found = Store(tmp_path / "r").read_all()
    assert not found.failures and len(found.records) == 4


def test_the_seeds_of_a_cell_spread_over_jobs(tiny: Path, tmp_path: Path) -> None:
    """One for each seed gives, to the last bit, what `run` gives for one seed at a time."""
    suite = suite_file(tiny, PLAIN)
    _, executor = bench(suite, tmp_path / "apart", max_replicas=1)
    assert [job.seeds for job in executor.jobs if isinstance(job, CellJob)] == [(0,), (1,)] * 2
    assert facts(tmp_path / "apart") == alone(tiny, tmp_path / "run")
    _, executor = bench(suite, tmp_path / "together")
    assert [job.seeds for job in executor.jobs if isinstance(job, CellJob)] == [(0, 1)] * 2


def alone(task: Path, results: Path) -> dict[str, object]:
    """Of the same rules and seeds, without a benchmark."""
    torch.set_num_threads(1)
    run(["backprop", "gaitprop"], str(task), 2, epochs=1, max_replicas=1, results=results)
    return facts(results)


def test_seeds_that_fail_are_named_and_the_others_kept(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job fails first and another succeeds after it: the failure stays, and is mended."""
    suite = suite_file(tiny, PLAIN.replace("seeds = 2", "seeds = 3"))
    train = CellJob.run

    def broken(job: CellJob, watch: object) -> object:
        if 1 in job.seeds:
            raise BioplausError("planted")
        return train(job, watch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(CellJob, "run", broken)
        done, _ = bench(suite, tmp_path / "r", max_replicas=1)
    assert sorted(r.seed for r in done.records) == [0, 0, 2, 2]
    failures = Store(tmp_path / "r").read_all().failures
    assert [(f.seeds, f.reason) for f in failures] == [([1], "planted")] * 2 == [
        (f.seeds, f.reason) for f in done.failures
    ]  # fmt: skip
    done, executor = bench(suite, tmp_path / "r", max_replicas=1)
    assert [job.seeds for job in executor.jobs if isinstance(job, CellJob)] == [(1,)] * 2
    found = Store(tmp_path / "r").read_all()
    assert len(found.records) == 6 and not found.failures and not done.failures


def test_a_tuning_whose_trials_all_fail_is_a_failure(tiny: Path, tmp_path: Path) -> None:
    def broken(self: object, *args: object) -> None:
        raise ZeroDivisionError("planted")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry.load("rule", "backprop"), "deltas", broken)
        done, _ = bench(suite_file(tiny), tmp_path / "r")
    (failure,) = done.failures
    assert failure.rule == "backprop" and "all 2 trials failed" in failure.reason
    assert {r.rule for r in done.records} == {"gaitprop"}


def test_seeds_of_a_broken_group_train_with_it_again() -> None:
    there = [make_record(seed=seed, provenance={"seeds_together": [0, 1, 2, 3]}) for seed in (0, 2)]
    groups = seed_groups([0, 1, 2, 3, 7, 8], [1, 3, 7, 8], there, 9)
    assert groups == [((0, 1, 2, 3), frozenset({1, 3})), ((7, 8), frozenset({7, 8}))]
    assert seed_groups([1, 2], [1, 2], [], 2) == [((1, 2), frozenset({1, 2}))]
    assert seed_groups([0, 5], [5], [make_record()], 2) == [((5,), frozenset({5}))]


def test_groups_of_seeds_do_not_hang_on_which_are_done() -> None:
    """As many as needed and of about one size; a second start finds those that are left."""
    seeds = list(range(10))
    whole = [((0, 1, 2, 3), {0, 1, 2, 3}), ((4, 5, 6), {4, 5, 6}), ((7, 8, 9), {7, 8, 9})]
    assert seed_groups(seeds, seeds, [], 4) == whole
    assert seed_groups(seeds, [0, 1, 2, 3, 7, 8, 9], [], 4) == [whole[0], whole[2]]
    assert seed_groups(seeds, [8], [], 1) == [((8,), {8})]
    assert seed_groups(seeds, [], [], 4) == []


def child_bench(suite: Path, store: Path) -> None:
    """A benchmark in a process of its own; without a failure."""
    torch.set_num_threads(1)
    done, _ = bench(suite, store)
    assert not done.failures


def test_ten_kills_at_random_moments_change_nothing(tiny: Path, tmp_path: Path) -> None:
    """A process that is killed while it trains, tunes or writes, and started again."""
    suite = suite_file(tiny, TUNED.replace("epochs = 1", "epochs = 2"))
    start = time.monotonic()
    bench(suite, tmp_path / "whole")
    whole = time.monotonic() - start
    chance = random.Random(6)
    # a server that has not trained forks the children: autograd does not survive a fork
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bioplaus.benchmark.plan", "test_bench"])
    killed = 0
    for _ in range(10):
        child = context.Process(target=child_bench, args=(suite, tmp_path / "killed"))
        child.start()
        while child.is_alive() and not (tmp_path / "killed").exists():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, whole / 3))
        child.kill()
        child.join()
        assert child.exitcode in (0, -signal.SIGKILL)
        killed += child.exitcode != 0
    assert killed >= 2, "no kill came in time"
    bench(suite, tmp_path / "killed")
    assert table(tmp_path / "killed") == table(tmp_path / "whole")
    assert facts(tmp_path / "killed") == facts(tmp_path / "whole")


def test_a_kill_between_two_records_of_a_group_changes_nothing(tiny: Path, tmp_path: Path) -> None:
    suite = suite_file(tiny, PLAIN)
    bench(suite, tmp_path / "r")
    before = facts(tmp_path / "r")
    for path in (tmp_path / "r").rglob("seed-0001.json"):
        path.unlink()
    _, executor = bench(suite, tmp_path / "r")
    assert [job.seeds for job in executor.jobs if isinstance(job, CellJob)] == [(0, 1), (0, 1)]
    assert facts(tmp_path / "r") == before


def test_the_estimate_comes_from_records_or_is_unknown(tiny: Path, tmp_path: Path) -> None:
    place = Place(Store(tmp_path / "r"))
    lefts = left(expand(read_suite(str(suite_file(tiny)))), place)
    # 4 epochs of a lone seed in 2 s: 0.5 s an epoch
    record = make_record(task="tiny", rule="backprop", epochs=4, seconds=2.0)
    known = speeds([record])
    assert known == {("tiny", "backprop"): 0.5}
    # 2 trials of 1 seed and 1 epoch, then 2 seeds of 1 epoch
    assert [seconds(item, known) for item in lefts] == [0.5 * (2 + 2), None]
    none = Curves(metrics={}, validation_accuracy=[], test_accuracy=[], alignment={})
    empty = record.model_copy(update={"curves": none})
    assert speeds([empty]) == {}
    assert [in_words(s) for s in (0.2, 42.4, 600, 7200)] == ["1 s", "42 s", "10 min", "2.0 h"]


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


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_bench_and_tune_at_the_command_line(tiny: Path, tmp_path: Path) -> None:
    suite, results = str(suite_file(tiny, TUNED)), str(tmp_path / "r")
    dry = call("bench", suite, "--dry-run", "--results", results)
    assert dry.exit_code == 0, dry.output
    assert "backprop on tiny epochs=1: 2 trials, then 2 seeds; about " in dry.stdout
    assert "unknown" not in dry.stdout and not (tmp_path / "r").exists()
    done = call("bench", suite, "--results", results, "--jobs", "1", "--format", "csv")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 3 and "gaitprop" in done.stdout
    assert "each tuned with 2 trials of 1 seed" in done.stderr
    assert json.loads(next((tmp_path / "r").rglob("seed-0000.json")).read_text())["card"]
    again = call("bench", suite, "--results", results, "--jobs", "1")
    assert "4 of 4 records were there already." in again.stderr
    dry = call("bench", suite, "--dry-run", "--results", results)
    assert "Nothing is left to run." in dry.stdout
    tuned = call("tune", "--rule", "backprop", "--task", str(tiny), "--trials", "2",
                 "--epochs", "1", "--results", results, "--jobs", "1")  # fmt: skip
    assert tuned.exit_code == 0, tuned.output
    assert (
        "<- chosen" in tuned.stdout and "To train it: bioplaus run --rule backprop" in tuned.stdout
    )


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["bench", "quik"], 1, "unknown suite 'quik'; did you mean quick?"),
        (["bench", "no.toml"], 1, "cannot read the suite file no.toml"),
        (["bench", "quick", "--jobs", "0"], 2, "a number from 1 to 10,000, or auto"),
        (["bench", "quick", "--executor", "moon"], 2, "Invalid value for '--executor': 'moon'"),
        (["tune", "--rule", "bakprop"], 1, "did you mean backprop"),
        (["tune", "--rule", "backprop", "--task", "digits-square", "--set",
          "task.validation=0"], 1, "no validation split"),
        (["tune", "--rule", "backprop", "--storage", "nosuch://x"], 1, "cannot use the tuning"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(
    arguments: list[str], status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == status, done.output
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_ctrl_c_ends_a_benchmark_and_loses_nothing_that_was_done(
    tiny: Path, tmp_path: Path
) -> None:
    slow = '{ rule = "predictive-coding", set = { steps = 20000 } }'
    suite = suite_file(tiny, PLAIN.replace('"gaitprop"', slow))
    command = [BIOPLAUS, "bench", str(suite), "--jobs", "1",
               "--results", str(tmp_path / "r")]  # fmt: skip
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command,
        stderr=pipe,
        stdout=pipe,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 100
        while len(list(tmp_path.rglob("seed-*.json"))) < 2:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "Interrupted. What was finished is saved" in stderr
    assert {path.parts[-3] for path in tmp_path.rglob("seed-*.json")} == {"backprop"}
    assert not list(tmp_path.rglob(".claim*"))


def test_a_cell_is_what_its_key_says(tiny: Path, tmp_path: Path) -> None:
    (entry, _) = expand(read_suite(str(suite_file(tiny, PLAIN)))).entries
    cell = entry.cell(Store(tmp_path), {"optimizer.lr": 0.5})
    assert isinstance(cell, SeedRecords) and cell.experiment.label == "optimizer.lr=0.5 epochs=1"
    assert cell.digest != entry.cell(Store(tmp_path), {}).digest
