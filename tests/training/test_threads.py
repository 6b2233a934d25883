"""Many replicas on several threads: what torch's own stacked LU does not survive."""

from __future__ import annotations

from pathlib import Path

import torch

from bioplaus.experiments.experiment import plan
from tests.helpers.training import CPU


def test_five_wide_replicas_train_on_two_threads(tmp_path: Path, real_data: Path) -> None:
    """Torch's own stacked LU does not survive this: see bioplaus.numerics.linalg."""
    from bioplaus.tasks.task import prepare, read_task
    from bioplaus.training.progress import Splits
    from bioplaus.training.trainer import Budget, Trainer

    task = read_task("mnist-square")
    rule = plan(["gaitprop"], "mnist-square")[0].rule
    data = task.load_data()
    some = torch.arange(120)
    train_split = prepare(data.train[some], (784,), data.scale, torch.float32, CPU)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        budget = Budget(60, 1, task.optimizer, task.optimizer)
        outcomes = Trainer(
            rule, task.build_network(), Splits(train_split, None, None), budget, range(5)
        ).train()
    finally:
        torch.set_num_threads(threads)
    assert all(o.diverged_epoch is None for o in outcomes)
    # at the start the weights are orthogonal, where GAIT-prop is backprop
    cosines = [v[-1] for o in outcomes for k, v in o.alignment["loss"].items() if "cosine" in k]
    assert min(c for c in cosines if c is not None) > 0.99
