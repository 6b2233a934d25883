"""A plan for a GPU where there is none: how long it takes says a table that ships."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from bioplaus.benchmark.plan import Left, Place, expand, left
from bioplaus.benchmark.shipped_speeds import shipped, shipped_speeds
from bioplaus.benchmark.suite import parse_suite
from bioplaus.cli import main
from bioplaus.plugins import registry
from bioplaus.records.store import Store
from bioplaus.tasks.task import read_task

SUITE = """
name = "mine"
rules = ["backprop", {{ rule = "gaitprop"{options} }}, "itp"]
tasks = ["mnist-square", "kmnist-square"]
seeds = 2
{more}
"""


def lefts(tmp_path: Path, options: str = "", more: str = "") -> list[Left]:
    suite = parse_suite(SUITE.format(options=options, more=more), "mine")
    return left(expand(suite, lambda task: False), Place(Store(tmp_path / "r")))


def row(rule: str, precision: str = "fp32") -> float:
    """Of mnist-square."""
    asked = rule, precision, "mnist-square"
    (found,) = [r for r in shipped() if (r.rule, r.precision, r.task) == asked]
    return found.epoch_seconds


def test_rows_name_what_there_is() -> None:
    for measured in shipped():
        assert measured.rule in registry.names("rule")
        read_task(measured.task)
        assert measured.epoch_seconds > 0
        for option in ("rule", "task", "seeds", "precision"):
            assert f"--{option} {getattr(measured, option)} " in f"{measured.command} "


def test_no_two_rows_tell_of_the_same() -> None:
    """The first would be taken, and the other never be seen."""
    cells = [(r.rule, r.task, r.precision) for r in shipped()]
    assert len(set(cells)) == len(cells)


def test_the_same_network_on_other_examples_takes_as_long(tmp_path: Path) -> None:
    """MNIST and KMNIST have 60,000 examples each, of which the tasks hold out equally many."""
    found, sources = shipped_speeds(lefts(tmp_path))
    assert {cell[:2]: epoch for cell, epoch in found.items()} == {
        (f"{data}-square", rule): pytest.approx(row(rule))
        for data in ("mnist", "kmnist")
        for rule in ("backprop", "gaitprop")
    }
    assert sources == ["NVIDIA H100 80GB HBM3, 2026-11-26"]


def test_other_options_are_not_what_was_timed(tmp_path: Path) -> None:
    found, _ = shipped_speeds(lefts(tmp_path, ", set = { ortho = 0.0 }"))
    assert {rule for _, rule, _ in found} == {"backprop"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a torch that sees no GPU")
def test_a_dry_run_for_a_gpu_names_the_table(tmp_path: Path) -> None:
    suite = tmp_path / "mine.toml"
    suite.write_text(SUITE.format(options="", more="epochs = 100"))
    arguments = ["bench", str(suite), "--dry-run", "--device", "cuda", "--results"]
    done = CliRunner().invoke(main, [*arguments, str(tmp_path / "r")])
    assert done.exit_code == 0, done.output
    assert "gaitprop on mnist-square: 2 seeds; about 2 min" in done.output  # 2 x 100 x 0.602 s
    assert "itp on mnist-square: 2 seeds; time unknown" in done.output
    assert "to run on 1 worker: about 5 min, and 2 cells of unknown time" in done.output
    source = "from the shipped table: NVIDIA H100 80GB HBM3, 2026-11-26"
    assert f"torch sees no CUDA device here; speeds {source}" in done.output
