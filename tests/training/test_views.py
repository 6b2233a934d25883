"""Views are affine maps of images, drawn by the seed, and the same under any rule."""

from __future__ import annotations

import pytest
import torch

from bioplaus.errors import ConfigError, UnsupportedError
from bioplaus.experiments.experiment import configure
from bioplaus.network.contrastive import ContrastiveHinge
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import Task, read_task
from bioplaus.training.budget import Budget, lesson
from bioplaus.training.execution import Execution
from bioplaus.training.groups import train_groups
from bioplaus.training.stepper import Stepper
from bioplaus.training.views import affine_views, two_views

SHAPE = (1, 8, 8)


def images(*shape: int) -> torch.Tensor:
    return Stream(0).at("images").uniform((*shape, 64))


def test_without_strength_a_view_is_the_image() -> None:
    x = images(3, 5)
    drawn = Stream(0).at("views").uniform((3, 10, 6))
    seen = two_views(x, drawn, 1e-12, SHAPE)
    assert torch.allclose(seen, torch.cat([x, x], dim=1), atol=1e-9)


def test_a_shift_by_a_pixel_is_one() -> None:
    """theta's last column is in half images: 2 / 8 is a pixel."""
    x = images(2).reshape(2, *SHAPE)
    drawn = torch.full((2, 6), 0.5, dtype=torch.float64)
    drawn[:, 2] = 1.0  # strength / 2 = 2 / 8
    seen = affine_views(x, drawn, 0.5)
    assert torch.allclose(seen[..., :-1], x[..., 1:], atol=1e-12)
    assert torch.allclose(seen[..., -1], torch.zeros(2, 1, 8, dtype=torch.float64), atol=1e-12)


def test_many_replicas_together_see_what_each_sees_alone() -> None:
    x, drawn = images(3, 5), Stream(0).at("views").uniform((3, 10, 6))
    together = two_views(x, drawn, 0.25, SHAPE)
    for i in range(3):
        assert torch.equal(together[i], two_views(x[i : i + 1], drawn[i : i + 1], 0.25, SHAPE)[0])
    assert not torch.equal(together[:, :5], together[:, 5:]), "two views, not one twice"


def test_a_seed_sees_the_same_views_whichever_rule_and_seeds_there_are() -> None:
    task = read_task("digits-views")
    train = Split(images(30), torch.arange(30) % 10)

    def shown(rule: str, seeds: list[int], step: int) -> torch.Tensor:
        budget = Budget(30, 1, task.optimizer, task.optimizer, lesson(task))
        made = registry.load("rule", rule).configured({})
        stepper = Stepper(made, task.build_network(), train, budget, seeds)
        index = torch.arange(30).expand(len(seeds), 30)
        batch = stepper._shown(*stepper.gather(index), torch.tensor(step))
        assert batch.x.shape[1] == batch.y.shape[1] == 60
        return batch.x

    alone = shown("backprop", [4], 2)[0]
    assert torch.equal(alone, shown("backprop", [1, 4, 9], 2)[1])
    assert torch.equal(alone, shown("feedback-alignment", [4], 2)[0])
    assert not torch.equal(alone, shown("backprop", [4], 3)[0])


def test_a_run_records_its_probe_once_and_what_to_read_it_against() -> None:
    task = read_task("digits-views").updated({"epochs": 2, "train_examples": 120})
    data = task.load_data()
    experiment = configure("backprop", task, {})
    (trainer,) = train_groups(experiment, data, [0, 3], Execution(torch.device("cpu"), "off"))
    first, second = trainer.outcomes
    for outcome in (first, second):
        assert outcome.test_accuracy[0] is None and outcome.validation_accuracy[0] is None
        assert outcome.test_accuracy[1] is not None and outcome.test_accuracy[1] > 0.5
        assert all(v is not None for v in outcome.metrics["validation_probe_ridge"])
        assert outcome.metrics["test_probe_few"][0] is None
        assert {len(curve) for _, curve in outcome.curves()} == {2}
    pixels, untrained = "test_probe_pixels", "test_probe_untrained"
    assert first.metrics[pixels] == second.metrics[pixels]
    assert first.metrics[untrained] != second.metrics[untrained]
    (again,) = train_groups(
        configure("feedback-alignment", task, {}), data, [3], Execution(torch.device("cpu"), "off")
    )
    (alone,) = again.outcomes
    assert alone.metrics[untrained] == second.metrics[untrained], "of the seed, not of the rule"


@pytest.mark.parametrize(
    ("rule", "task", "what"),
    [
        ("direct-random-target-projection", "digits-views", "the targets"),
        ("local-losses", "digits-reconstruction", "classes"),
        ("forward-forward", "friedman-mlp", "classes"),
        ("forward-forward", "digits-views", "classes"),
    ],
)
def test_who_learns_from_what_a_task_has_not_says_so(rule: str, task: str, what: str) -> None:
    with pytest.raises(UnsupportedError, match=f"it learns from {what}"):
        configure(rule, read_task(task), {})


def test_the_task_says_how_pairs_are_told_apart() -> None:
    table = read_task("digits-views").model_dump()
    table["goal"] |= {"margin": 2.0, "delta": 1.0, "negatives": 5, "block": False}
    loss = Task.model_validate(table).build_network().loss
    assert isinstance(loss, ContrastiveHinge)
    assert (loss.margin, loss.delta, loss.negatives, loss.block) == (2.0, 1.0, 5, False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": {"patch": 2, "share": 0.5}}, "mask is no part of two-views"),
        ({"views": None}, "needs .goal.views."),
        ({"kind": "reconstruction", "views": None, "margin": 2.0}, "margin is no part of"),
    ],
)
def test_what_is_no_part_of_a_goal_is_refused(change: dict[str, object], words: str) -> None:
    table = read_task("digits-views").model_dump()
    with pytest.raises(ValueError, match=words):
        Task.model_validate(table | {"goal": table["goal"] | change})


def test_views_need_images() -> None:
    table = read_task("digits-views").model_dump() | {"dataset": "teacher"}
    with pytest.raises(ConfigError, match="views are of images"):
        Task.model_validate(table).build_network()
