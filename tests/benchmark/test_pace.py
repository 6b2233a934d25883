"""Before it starts: how long it may take, timed here, and without the data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from bioplaus.benchmark import pace as module
from bioplaus.benchmark.estimate import cell_of
from bioplaus.benchmark.pace import step_seconds, steps_per_epoch, timed
from bioplaus.benchmark.plan import Left, Place, expand, left
from bioplaus.benchmark.suite import read_suite
from bioplaus.cli import main
from bioplaus.cli.progress import TimeLeft
from bioplaus.experiments.experiment import Experiment, configure
from bioplaus.plugins import registry
from bioplaus.records.store import Store
from bioplaus.tasks import data_cache
from bioplaus.tasks.task import Task, load_dataset, read_task

SUITE = """
name = "mine"
rules = ["backprop", "kolen-pollack"]
tasks = ["tiny.toml"]
seeds = 2
epochs = 3
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def suite(tiny: Path) -> Path:
    path = tiny.with_name("suite.toml")
    path.write_text(SUITE)
    return path


@pytest.fixture(autouse=True)
def paces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache" / "paces.json"
    monkeypatch.setattr(module, "_file", lambda: path)
    return path


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be read, as where the files are missing."""

    def refuse(self: object, split: str) -> None:
        raise AssertionError("a plan has read data")

    data_cache.clear()
    for name in registry.names("dataset"):
        monkeypatch.setattr(registry.load("dataset", name), "load", refuse)


def plans(suite: Path, tmp_path: Path) -> tuple[list[Left], Place]:
    place = Place(Store(tmp_path / "r"))
    return left(expand(read_suite(str(suite)), lambda task: False), place), place


def test_a_dry_run_times_what_no_record_tells_of_and_reads_no_data(
    suite: Path, tmp_path: Path, no_data: None, paces: Path
) -> None:
    done = call("bench", suite, "--dry-run", "--jobs", 1, "--results", tmp_path / "r")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("2 seeds; about ") == 2 and "unknown" not in done.stdout
    assert "2 of 2 cells to run on 1 worker: about " in done.stdout
    assert not (tmp_path / "r").exists() and len(json.loads(paces.read_text())) == 2


def test_the_builtin_suites_are_planned_without_data(
    tmp_path: Path, no_data: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "step_seconds", lambda *_: 0.125)
    for name in ("quick", "gait-paper"):
        done = call("bench", name, "--dry-run", "--jobs", 1, "--results", tmp_path / "r")
        assert done.exit_code == 0, done.output
        assert "seeds; about " in done.stdout and "unknown" not in done.stdout


def test_what_was_timed_is_used_again(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = step_seconds

    def counted(*arguments: object) -> float:
        calls.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "step_seconds", counted)
    lefts, place = plans(suite, tmp_path)
    first = timed(lefts, {}, place)
    assert len(calls) == 2 and timed(lefts, {}, place) == first and len(calls) == 2
    backprop, kolen_pollack = (cell_of(item.entry) for item in lefts)
    assert timed(lefts, {backprop: 1.0}, place).keys() == {kolen_pollack}


def test_of_a_sweep_the_ends_are_timed_and_the_rest_lies_between(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 units: 2 layers have 64 x 16 + 16 x 10 products, each further one 16 x 16 more."""
    suite.write_text(SUITE + "[sweep]\ndepth = [2, 4, 8, 32]\n")
    depths = []

    def step(experiment: Experiment, *_: object) -> float:
        depths.append(experiment.network.depth)
        return experiment.network.depth / 8

    monkeypatch.setattr(module, "step_seconds", step)
    lefts, place = plans(suite, tmp_path)
    found = timed(lefts, {}, place)
    assert depths == [2, 32, 2, 32]  # of two rules
    assert [found[cell_of(item.entry)] for item in lefts[::2]] == [2.5, 5.0, 10.0, 40.0]


def test_seconds_of_an_epoch_are_its_steps(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1437 examples, 937 of them held out, in batches of 50: ten steps."""
    monkeypatch.setattr(module, "step_seconds", lambda *_: 0.125)
    lefts, place = plans(suite, tmp_path)
    assert steps_per_epoch(lefts[0].entry) == 10
    assert set(timed(lefts, {}, place).values()) == {1.25}


def test_where_no_time_is_left_there_is_no_estimate(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SECONDS", -1.0)
    lefts, place = plans(suite, tmp_path)
    assert timed(lefts, {}, place) == {}


@pytest.mark.parametrize("content", ["", "[]", '{"a": "b", "c": -1.0, "d": 1e300}', "\0"])
def test_a_damaged_cache_is_no_error(
    suite: Path, tmp_path: Path, paces: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "step_seconds", lambda *_: 0.125)
    paces.parent.mkdir()
    paces.write_text(content)
    lefts, place = plans(suite, tmp_path)
    assert len(timed(lefts, {}, place)) == 2


def test_every_dataset_that_names_its_sizes_has_them(real_data: Path) -> None:
    named = {n: load_dataset(n).sizes for n in registry.names("dataset") if n != "cifar10"}
    assert named["digits"] and named["mnist"]
    for name in ("digits", "mnist"):
        loaded = {split: len(load_dataset(name).load(split)) for split in ("train", "test")}
        assert loaded == dict(named[name])


def test_a_step_takes_longer_on_a_wider_network(tiny: Path) -> None:
    def of(units: int) -> float:
        text = tiny.read_text().replace("units = 16", f"units = {units}")
        tiny.write_text(text)
        task: Task = read_task(str(tiny))
        return step_seconds(configure("backprop", task, {}), 1, torch.device("cpu"))

    assert 0 < of(16) < of(1600)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_follows_from_what_is_done() -> None:
    clock = Clock()
    left_ = TimeLeft([1, 3, 0, 1], clock)
    assert left_.share == 0.0 and left_.words == ""
    left_.begins(0, [1, 2])
    left_.stands(1, 1.0)
    left_.stands(2, 0.5)
    assert left_.share == pytest.approx(0.75 / 3)
    clock.now = 60.0
    assert left_.words == "about 3 min left"  # a quarter took a minute
    left_.ends(0)
    left_.ends(2)
    left_.begins(1, [3])
    left_.stands(3, 1.0)
    left_.begins(1, [4])
    assert left_.share == pytest.approx((1 + 1 / 3) / 3)
    for work in (1, 3):
        left_.ends(work)
    assert left_.share == 1.0 and left_.words == ""


def test_what_was_there_before_does_not_count() -> None:
    assert TimeLeft([0, 0]).words == "" and TimeLeft([]).share == 1.0


def test_bench_says_how_long_the_rest_takes(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bioplaus.cli import progress

    ticks = iter(range(10**6))
    real = progress.TimeLeft
    monkeypatch.setattr(progress, "TimeLeft", lambda waves: real(waves, lambda: 10.0 * next(ticks)))
    done = call("bench", suite, "--jobs", 1, "--results", tmp_path / "r")
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stderr.splitlines() if line.startswith("[0/2] backprop")]
    assert lines and "left" in lines[0]


def test_speed_says_how_long_it_takes_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    from bioplaus.speed import measure

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "measure", stop)
    done = call("speed", "--rule", "backprop", "--rule", "gaitprop", "--replicas", "1,4")
    assert done.stderr.startswith("4 rows: about 20 s, after compiling each")
