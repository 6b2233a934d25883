"""Tasks: the built-in files say what the benchmark promises; bad files say what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bioplaus import tasks
from bioplaus.errors import BioplausError, ConfigError, DataError, UnknownNameError
from bioplaus.task import read_task

SQUARE = ["mnist-square", "fashion-mnist-square", "kmnist-square"]


def test_the_default_task_comes_first() -> None:
    assert tasks.names()[0] == "digits-square"
    assert tasks.names()[1:] == sorted(tasks.names()[1:])


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_is_valid_and_builds_its_network(name: str) -> None:
    task = read_task(name)
    assert task.name == name
    assert task.description
    assert task.build_network().classes == 10


def test_digits_square_is_the_published_split_and_network() -> None:
    task = read_task("digits-square")
    data = task.load_data()
    assert data.sizes() == {"train": 1200, "validation": 237, "test": 360}
    assert [layer.out_shape for layer in task.build_network().layers] == [(64,)] * 4
    assert len(data.train) // task.batch_size == 40
    assert (task.optimizer.name, task.optimizer.lr, task.epochs) == ("adam", 1e-3, 50)


@pytest.mark.parametrize("name", SQUARE)
def test_square_tasks_are_the_papers(name: str) -> None:
    task = read_task(name)
    net = task.build_network()
    assert [layer.in_shape for layer in net.layers] == [(784,)] * 5
    assert {str(layer.activation) for layer in net.layers} == {"leaky_relu(0.1)"}
    assert (task.loss, task.batch_size, task.epochs) == ("mse", 60, 100)
    assert (task.optimizer.lr, task.optimizer.betas) == (1e-4, (0.9, 0.99))
    assert task.validation == 0


def test_tower_reads_ever_fewer_units() -> None:
    layers = read_task("mnist-tower").build_network().layers
    assert [layer.out_shape[0] for layer in layers] == [784, 500, 200, 10]
    assert all(layer.why_not_invertible() is None for layer in layers)


def test_validation_examples_are_fixed_and_apart_from_training() -> None:
    first, second = (read_task("digits-square").load_data() for _ in range(2))
    assert first.validation is not None and second.validation is not None
    assert torch.equal(first.validation.x, second.validation.x)
    assert torch.equal(first.train.x, second.train.x)
    counts = len(first.train) + len(first.validation)
    assert counts == 1437


def test_no_validation_split_is_none(tiny: Path) -> None:
    data = read_task(str(tiny)).updated({"validation": 0}).load_data()
    assert data.validation is None
    assert data.sizes()["validation"] == 0


def test_batches_larger_than_the_data_are_refused(tiny: Path) -> None:
    with pytest.raises(DataError, match="do not fill a batch of 5000"):
        read_task(str(tiny)).updated({"batch_size": 5000}).load_data()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('loss = "mse"', 'loss = "hinge"', "loss: .*'hinge'"),
        ("batch_size = 50", "batch_size = 0", "batch_size: .*greater than 0"),
        ("batch_size = 50", "batch = 50", "batch"),
        ('name = "tiny"', 'name = "../tiny"', "name: "),
        ('activation = "leaky_relu(0.1)"', 'activation = "swish"', "swish"),
        ('type = "dense"', 'type = "dence"', "did you mean dense"),
        ("units = 16", "units = -1", "units"),
        ('name = "adam"', 'name = "lion"', "lion"),
        ("lr = 1e-3", "lr = 1e-3\nmomentum = 0.9", "adam has no setting momentum"),
        ('dataset = "digits"', 'dataset = "digit"', "did you mean digits"),
        ("[network]", "[network", "not valid TOML"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tiny: Path, old: str, new: str, message: str) -> None:
    tiny.write_text(tiny.read_text().replace(old, new))
    with pytest.raises(BioplausError, match=message):
        read_task(str(tiny)).build_network()


def test_too_few_outputs_for_the_classes(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("units = 16", "units = 4"))
    with pytest.raises(ConfigError, match="4 output units cannot tell 10 classes"):
        read_task(str(tiny)).build_network()


def test_unknown_and_missing_tasks() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean mnist-square.*FILE\.toml"):
        read_task("mnist-squar")
    with pytest.raises(ConfigError, match="cannot read the task file nowhere"):
        read_task("nowhere.toml")


def test_content_leaves_out_what_does_not_change_results(tiny: Path) -> None:
    task = read_task(str(tiny))
    renamed = task.model_copy(update={"name": "other", "description": "other"})
    assert renamed.content() == task.content()
    assert task.updated({"batch_size": 25}).content() != task.content()
