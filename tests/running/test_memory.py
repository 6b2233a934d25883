"""Groups of seeds that do not fit into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bioplaus.experiments.experiment import plan
from bioplaus.records.store import Store
from bioplaus.running.run import run_experiments
from bioplaus.training.execution import Execution
from bioplaus.training.trainer import Trainer

CPU = torch.device("cpu")


def test_a_group_that_does_not_fit_is_halved_and_says_so(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory with more than two seeds: five train as two, one and two."""
    train = Trainer.train
    sizes = []

    def limited(self: Trainer, *args: Any) -> Any:
        if len(self.seeds) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        sizes.append(len(self.seeds))
        return train(self, *args)

    monkeypatch.setattr(Trainer, "train", limited)
    execution = Execution(CPU, "off")
    done = run_experiments(
        plan(["backprop"], str(tiny)), range(5), Store(tmp_path / "r"), execution=execution
    )
    assert sizes == [2, 1, 2]
    assert [r.seed for r in done.records] == [0, 1, 2, 3, 4] and not done.problems
    assert any("5 seeds together did not fit into memory" in note for note in done.notes)
    assert "notes" in done.records[0].provenance


def test_a_single_seed_that_does_not_fit_is_a_problem_with_advice(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Trainer, *args: Any) -> Any:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes")

    monkeypatch.setattr(Trainer, "train", full)
    execution = Execution(CPU, "off")
    done = run_experiments(
        plan(["backprop"], str(tiny)), [0, 1], Store(tmp_path / "r"), execution=execution
    )
    assert done.problems == [
        "backprop on tiny does not fit into memory, even with one seed at a time; a smaller "
        "batch may: --set task.batch_size=25"
    ]


def test_an_error_of_the_rule_is_no_lack_of_memory(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(self: Trainer, *args: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Trainer, "train", wrong)
    experiments = plan(["backprop"], str(tiny))
    done = run_experiments(experiments, [0, 1], Store(tmp_path), execution=Execution(CPU))
    (problem,) = done.problems
    assert "shapes cannot be multiplied" in problem
