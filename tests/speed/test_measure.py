"""Measuring speed: the numbers of a row fit together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from bioplaus.experiments.experiment import plan
from bioplaus.speed.measure import Row, ceilings, measure
from bioplaus.training.execution import Execution

CPU = torch.device("cpu")


def rows(tiny: Path, *replicas: int) -> list[Row]:
    return measure(plan(["gaitprop"], str(tiny))[0], replicas, Execution(CPU, "off"), seconds=0.01)


def test_the_numbers_of_a_row_fit_together(tiny: Path) -> None:
    one, four = rows(tiny, 1, 4)
    for row in (one, four):
        assert row.seed_steps_per_second == pytest.approx(row.replicas / row.step_seconds)
        assert row.samples_per_second == pytest.approx(50 * row.seed_steps_per_second)
        assert row.times_eager is not None and row.eager_steps_per_second is not None
        assert row.times_eager == pytest.approx(
            row.seed_steps_per_second / row.eager_steps_per_second
        )
        assert row.floor_seconds is not None and row.of_floor is not None
        assert row.of_floor == pytest.approx(row.floor_seconds / row.step_seconds)
        assert row.execution == "traced"
    assert one.step_flops == four.step_flops
    assert four.peak_bytes is not None and one.peak_bytes is not None
    assert four.peak_bytes > one.peak_bytes


def test_gaitprop_costs_what_its_equations_say(tiny: Path) -> None:
    """Layers 64-16 and 16-16, batch 50, one not square: only layer 2 is inverted.

    Forward and weight gradients 4 N n m; the regulariser's Gram matrix and its product
    2 m^2 n + 2 n m^2; the inverse, through the Gram matrix, 1 + 3 products of N n^2.
    """
    (row,) = rows(tiny, 1)
    n, wide, narrow = 50, 64, 16
    passes = 4 * n * narrow * (wide + narrow)
    regulariser = 4 * wide * wide * narrow + 4 * narrow**3
    inverse = 2 * n * narrow * narrow * (1 + 3)
    assert row.step_flops == passes + regulariser + inverse


def test_ceilings_are_positive_and_finite() -> None:
    found = ceilings(torch.float32, CPU, 10**6)
    assert 1e8 < found.flops_per_second < 1e16
    assert 1e7 < found.bytes_per_second < 1e14


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_row_says_so_and_what_it_took(tiny: Path) -> None:
    (row,) = measure(plan(["backprop"], str(tiny))[0], [2], Execution(CPU, "on"), seconds=0.01)
    assert row.execution == "compiled"
    assert row.setup_seconds > 0
