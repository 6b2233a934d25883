"""Whole runs beside the plain loop: the numbers fit together, and the command shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from bioplaus.cli import main
from bioplaus.experiments.experiment import plan
from bioplaus.speed.end_to_end import measure_runs
from bioplaus.training.execution import Execution


def call(tiny: Path, *arguments: str) -> Result:
    given = ("speed", "--end-to-end", "--rule", "backprop", "--task", str(tiny), "--compile", "off")
    return CliRunner().invoke(main, [*given, *arguments])


def test_the_numbers_of_a_run_fit_together(tiny: Path) -> None:
    """500 examples in batches of 50: ten steps an epoch."""
    experiment = plan(["backprop"], str(tiny), epochs=5)[0]
    (row,) = measure_runs(experiment, [2], Execution(torch.device("cpu"), "off"))
    steps = row.seed_steps_per_second * row.epoch_seconds / 2
    assert steps == pytest.approx(round(steps)) and round(steps) == 10
    assert row.eager_steps_per_second is not None and row.times_eager is not None
    assert row.times_eager == pytest.approx(row.seed_steps_per_second / row.eager_steps_per_second)
    assert 0 < row.evaluation_share < 1
    assert row.once_seconds > 0


def test_the_command_writes_a_table_or_json(tiny: Path) -> None:
    done = call(tiny, "--replicas", "1", "--set", "task.epochs=4")
    assert done.exit_code == 0, done.output
    assert "ms/epoch" in done.stdout and "x eager" in done.stdout
    done = call(tiny, "--replicas", "1,2", "--set", "task.epochs=4", "--format", "json")
    assert [row["replicas"] for row in json.loads(done.stdout)["rows"]] == [1, 2]


def test_a_run_too_short_to_time_says_what_to_do(tiny: Path) -> None:
    done = call(tiny, "--replicas", "1", "--set", "task.epochs=2")
    assert done.exit_code != 0 and "task.epochs=20" in done.output
    assert "Traceback" not in done.output
