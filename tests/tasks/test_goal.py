"""Goals and values in task files: what they make of a network, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import bioplaus
from bioplaus import tasks
from bioplaus.errors import ConfigError, DataError
from bioplaus.records.commands import run_again
from bioplaus.records.store import Store
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.door import load_dataset
from bioplaus.tasks.task import Task, read_task

NEW = ("goal", "targets", "metric")


def changed(name: str, **changes: Any) -> Task:
    table = {**read_task(name).model_dump(), **changes}
    return Task.model_validate(table)


@pytest.mark.parametrize("name", tasks.names())
def test_tasks_of_classes_have_the_content_they_had(name: str) -> None:
    """So every key of an older record stands: a field that is left out is not in the digest."""
    task = read_task(name)
    if all(getattr(task, field) is None for field in NEW):
        assert not set(NEW) & task.content().keys()


def test_a_digest_from_before_there_were_goals() -> None:
    content = read_task("digits-mlp").content()
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == DIGITS_MLP


DIGITS_MLP = "2161657939bdd6ca9d2ba153cf2f592e50eb74f4148138586508face3e636b98"
"""Made by the version that knew classes alone."""


def test_a_reconstruction_has_a_unit_for_every_pixel() -> None:
    net = read_task("digits-reconstruction").build_network()
    assert net.classes == net.layers[-1].out_shape[0] == 64
    assert read_task("mnist-masked").build_network().classes == 784


def test_values_are_loaded_as_they_are() -> None:
    data = read_task("friedman-mlp").load_data()
    assert data.train.y.shape == (3_500, 1) and data.train.y.is_floating_point()
    assert float(data.train.y.mean()) == pytest.approx(0, abs=0.1)
    assert float(data.train.y.var()) == pytest.approx(24.81 / 25, abs=0.06)


def test_friedmans_formula_leaves_the_noise() -> None:
    data = read_task("friedman-mlp").load_data().test
    x = data.x.double()
    signal = 10 * torch.sin(torch.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    signal = signal + 10 * x[:, 3] + 5 * x[:, 4]
    noise = 5 * data.y[:, 0].double() + 14.4 - signal
    assert float(noise.mean()) == pytest.approx(0, abs=4 / 2_000**0.5)
    assert float(noise.var()) == pytest.approx(1, abs=4 * (2 / 2_000) ** 0.5)


GOAL = {"kind": "reconstruction"}


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("digits-mlp", {"targets": "values"}, "leave `targets` out"),
        ("friedman-mlp", {"targets": None}, 'set targets = "values"'),
        ("friedman-mlp", {"loss": "cross_entropy"}, 'set loss = "mse"'),
        ("digits-mlp", {"goal": GOAL}, 'set loss = "mse"'),
        ("digits-mlp", {"metric": "r2"}, "for tasks of numbers to learn"),
        ("digits-reconstruction", {"targets": "values"}, "makes its own targets"),
        ("digits-reconstruction", {"label_noise": 0.1}, "label_noise is for classes"),
        ("digits-reconstruction", {"goal": GOAL | {"embedding": 3}}, "layer 3 cannot be probed"),
        ("digits-reconstruction", {"goal": GOAL | {"mask": {"patch": 3, "share": 0.5}}},
         "patches of 3 x 3 do not fill"),
        ("digits-reconstruction", {"goal": GOAL | {"mask": {"patch": 8, "share": 0.5}}},
         "leave an image nothing else"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_with_the_way_out(
    name: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        changed(name, **changes).build_network()


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (torch.zeros(4_000), r"write y\[:, None\]"),
        (torch.zeros(4_000, 1, dtype=torch.int64), "due are floats"),
        (torch.full((4_000, 1), torch.nan), "4000 of 4000 targets are NaN"),
    ],
)
def test_values_are_checked_at_the_door(
    monkeypatch: pytest.MonkeyPatch, y: torch.Tensor, words: str
) -> None:
    friedman = type(load_dataset("friedman"))
    monkeypatch.setattr(friedman, "load", lambda self, split: Split(torch.zeros(4_000, 10), y))
    with pytest.raises(DataError, match=words):
        read_task("friedman-mlp").load_training_data()


def test_a_changed_goal_is_a_label_that_its_record_agrees_with(tmp_path: Path) -> None:
    """Tables of a task are told by their fields, as `--set` takes them."""
    settings = {"task.goal.views.affine": 0.5, "task.epochs": 1, "task.train_examples": 60}
    frame = bioplaus.run("backprop", "digits-views", 1, results=tmp_path, settings=settings)
    assert "task.goal.views.affine=0.5" in frame["config"][0]
    found = Store(tmp_path).read_all()
    assert found.damaged == [] and len(found.records) == 1
    assert "task.goal.views.affine=0.5" in run_again(found.records)
