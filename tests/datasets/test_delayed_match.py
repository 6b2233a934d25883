"""The delayed match data: what it says it is, and that a memory is what it takes."""

from __future__ import annotations

import torch

from bioplaus.datasets.delayed_match import DelayedMatch
from bioplaus.tasks.dataset import Split


def shown(split: Split, start: int) -> torch.Tensor:
    """Which stimulus most of the spikes of three steps are of."""
    spikes = split.x[:, start : start + 3].sum(1)
    return (spikes[:, 5:].sum(1) > spikes[:, :5].sum(1)).long()


def test_the_label_is_whether_the_stimuli_match() -> None:
    split = DelayedMatch().load("train")
    assert split.x.unique().tolist() == [0, 1]
    first, second = shown(split, 0), shown(split, 11)
    assert ((first == second).long() == split.y).float().mean() > 0.999
    # neither of them alone says anything: five standard deviations of 2,000 tosses
    for stimulus in (first, second):
        for k in range(2):
            assert abs(float(split.y[stimulus == k].float().mean()) - 0.5) < 5 * 0.5 / 1900**0.5


def test_units_spike_as_often_as_it_says() -> None:
    x = DelayedMatch().load("train").x
    silent = torch.cat([x[:, 3:11], x[:, 14:]], 1)
    assert abs(float(silent.mean()) - 0.02) < 5 * (0.02 * 0.98 / silent.numel()) ** 0.5
    stimuli = torch.cat([x[:, :3], x[:, 11:14]], 1)
    # half of the units at 0.8, the others at 0.02
    assert abs(float(stimuli.mean()) - 0.41) < 5 * 0.5 / stimuli.numel() ** 0.5
