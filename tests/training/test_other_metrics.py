"""What is made for classes says so of other tasks, and what people read names the metric."""

from __future__ import annotations

import pytest
import torch

from bioplaus.axes.robustness import Robustness
from bioplaus.cli.progress import _result
from bioplaus.errors import UnsupportedError
from bioplaus.experiments.experiment import configure
from bioplaus.speed.end_to_end import measure_runs
from bioplaus.speed.measure import measure
from bioplaus.tasks.task import read_task
from bioplaus.training.execution import Execution
from tests.helpers.boards import make_cell
from tests.helpers.metrics import HIGH, LOSSES, VALUES, cell

TASKS = ["digits-views", "digits-reconstruction", "friedman-mlp"]


@pytest.mark.parametrize("task", TASKS)
def test_speed_and_attacks_are_on_classes(task: str) -> None:
    experiment = configure("backprop", read_task(task), {})
    execution = Execution(torch.device("cpu"), "off")
    for timed in (measure, measure_runs):
        with pytest.raises(UnsupportedError, match="has no classes"):
            timed(experiment, [1], execution)
    assert "attacks are on classes" in (Robustness.configured({}).supports(experiment) or "")
    digits = configure("backprop", read_task("digits-mlp"), {})
    assert Robustness.configured({}).supports(digits) is None


def test_progress_names_what_is_no_accuracy() -> None:
    assert _result(cell("a", VALUES, HIGH)) == "5 seeds, test R2 81.6 %"
    assert _result(cell("a", LOSSES, [2.0, 4.0])) == "2 seeds, test loss 3"
    assert _result(make_cell("a", [0.5, 0.75, None])) == "3 seeds, test 45.0 %, 1 diverged"
