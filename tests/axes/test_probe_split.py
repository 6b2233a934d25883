"""Where a task holds nothing out, a probe's L2 is not chosen on what the probe was fitted to."""

from __future__ import annotations

import torch

from bioplaus.axes.representation import _apart
from bioplaus.tasks.dataset import Split


def test_a_fifth_of_training_is_held_out() -> None:
    train = Split(torch.arange(50.0)[:, None], torch.arange(50))
    fitted, chosen = _apart(train, None)
    assert len(fitted) == 40 and len(chosen) == 10
    assert sorted([*fitted.y.tolist(), *chosen.y.tolist()]) == list(range(50))
    assert _apart(train, chosen) == (train, chosen)
