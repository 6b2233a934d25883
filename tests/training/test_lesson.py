"""What a rule is shown and how it is judged: masks are drawn by the seed, R2 is as defined."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import r2_score  # type: ignore[import-untyped,unused-ignore]

from bioplaus.learning.batching import NoiseSource
from bioplaus.network.layer import Dense
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.goal import Goal, Mask
from bioplaus.tasks.task import read_task
from bioplaus.training.budget import Budget, lesson
from bioplaus.training.lesson import Reconstruction, Values
from bioplaus.training.stepper import Stepper

SHAPE = (1, 8, 8)
NET = Network((Dense(64, 16), Dense(16, 64)), get_loss("mse"), 64)


def images(count: int, name: str) -> Split:
    x = 0.1 + Stream(0).at(name).uniform((count, 64))
    return Split(x, torch.arange(count) % 10)


def masked(share: float = 0.5) -> Reconstruction:
    return Reconstruction(Goal(kind="reconstruction", mask=Mask(patch=2, share=share)), SHAPE)


@pytest.mark.parametrize(("share", "removed"), [(0.5, 8), (0.01, 1), (0.99, 15), (0.3, 5)])
def test_a_mask_sets_whole_patches_to_zero_so_many_in_every_example(
    share: float, removed: int
) -> None:
    shown = masked(share)
    noise = NoiseSource(shown.noise(30), [0, 7], torch.float64, torch.device("cpu"), "views")
    x = images(30, "x").x.expand(2, 30, 64)
    batch = shown.show(x, x, noise.at(3))
    assert torch.equal(batch.y, x), "the target is the clean example"
    gone = (batch.x == 0).reshape(2, 30, 4, 2, 4, 2)
    patches = gone.all(5).all(3)
    assert torch.equal(patches, gone.any(5).any(3)), "no patch is cut"
    assert (patches.sum((2, 3)) == removed).all()
    assert torch.equal(batch.x[batch.x != 0], x[batch.x != 0]), "the rest is as it was"
    assert not torch.equal(patches[0], patches[1]) and not torch.equal(patches[0, 0], patches[0, 1])


def test_a_seed_sees_the_same_masks_whichever_rule_and_seeds_there_are() -> None:
    task = read_task("digits-reconstruction")
    train = Split(images(30, "x").x, torch.arange(30) % 10)

    def shown(rule: str, seeds: list[int]) -> torch.Tensor:
        budget = Budget(30, 1, task.optimizer, task.optimizer, lesson(task))
        made = registry.load("rule", rule).configured({})
        stepper = Stepper(made, task.build_network(), train, budget, seeds)
        index = torch.arange(30).expand(len(seeds), 30)
        return stepper._shown(*stepper.gather(index), torch.tensor(5)).x

    alone = shown("backprop", [4])[0]
    assert torch.equal(alone, shown("backprop", [1, 4, 9])[1])
    assert torch.equal(alone, shown("feedback-alignment", [4])[0])
    assert not torch.equal(alone, shown("backprop", [5])[0])


def test_exams_are_the_same_for_all_and_count_removed_pixels_alone() -> None:
    train, split = images(50, "train"), images(20, "test")
    shown = masked()
    exam = shown.exam(split, "test", train, NET)
    assert torch.equal(exam.x, shown.exam(split, "test", train, NET).x)
    assert not torch.equal(exam.x, shown.exam(split, "validation", train, NET).x)
    removed = exam.x == 0

    def r2(output: torch.Tensor) -> float:
        sums = {n: t.sum(1) for n, t in shown.judge(NET, output[None], exam.given).items()}
        return float(shown.marks(sums, 20)["r2"])

    assert r2(torch.where(removed, split.x, 9.0)) == 1.0, "what was left is not asked for"
    assert r2(train.x.mean(0).expand(20, 64)) == pytest.approx(0, abs=1e-12)
    guess = Stream(1).at("guess").uniform((20, 64))
    mean = train.x.mean(0).expand(20, 64)
    error, spread = ((a - split.x)[removed].square().sum() for a in (guess, mean))
    assert r2(guess) == pytest.approx(1 - float(error / spread), abs=1e-12)


def test_r2_of_values_is_scikit_learns_on_the_training_split_itself() -> None:
    y = Stream(0).at("y").normal((40, 64)) * torch.arange(1, 65)
    train = Split(Stream(0).at("x").normal((40, 64)), y)
    exam = Values().exam(train, "test", train, NET)
    guess = y + Stream(0).at("guess").normal((2, 40, 64))
    sums = {n: t.sum(1) for n, t in Values().judge(NET, guess, exam.given).items()}
    marks = Values().marks(sums, 40)
    for replica in range(2):
        due = r2_score(y.numpy(), guess[replica].numpy(), multioutput="variance_weighted")
        assert float(marks["r2"][replica]) == pytest.approx(due, abs=1e-12)
        loss = get_loss("mse").value(guess[replica], y)
        assert float(marks["loss"][replica]) == pytest.approx(float(loss), rel=1e-12)
