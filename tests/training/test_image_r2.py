"""R2 of each image about its own mean: measured where whole images are given back."""

from __future__ import annotations

import pytest
import torch

from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.goal import Goal
from bioplaus.tasks.task import read_task
from bioplaus.training.lesson import Reconstruction


@pytest.mark.parametrize("mask", [None, {"patch": 2, "share": 0.5}])
def test_it_is_the_mean_over_images_and_only_of_whole_ones(mask: dict[str, float] | None) -> None:
    net = read_task("digits-vae").build_network()
    grey = torch.full((1, 1, 8, 8), 0.3).double()
    x = torch.cat([Stream(0).at("x").uniform((5, 1, 8, 8)), grey])
    given, split = x.flatten(1), Split(x, torch.zeros(6, dtype=torch.int64))
    lesson = Reconstruction(
        Goal.model_validate({"kind": "reconstruction", "mask": mask}), (1, 8, 8)
    )
    exam = lesson.exam(split, "test", split, net)
    flat = given.mean(1, keepdim=True).expand(-1, 64)
    # perfect, each image's own mean, and half way between
    outputs = torch.stack([given, flat, (given + flat) / 2])
    judged = lesson.judge(net, outputs, exam.given)
    marks = lesson.marks({name: n.sum(1) for name, n in judged.items()}, 6)
    if mask is not None:
        assert "image_r2" not in marks
    else:
        assert marks["image_r2"].tolist() == pytest.approx([1, 0, 0.75], abs=1e-12)
