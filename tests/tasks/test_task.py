"""Tasks: the built-in files say what the benchmark promises; bad files say what is wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from bioplaus import tasks
from bioplaus.errors import BioplausError, ConfigError, DataError, UnknownNameError
from bioplaus.plugins import registry
from bioplaus.tasks.by_name import DEFAULTS
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.door import load_dataset
from bioplaus.tasks.task import read_task

SQUARE = ["mnist-square", "fashion-mnist-square", "kmnist-square"]


def test_the_default_tasks_come_first() -> None:
    names, first = tasks.names(), len(DEFAULTS)
    assert names[:first] == list(DEFAULTS) and DEFAULTS[0] == "digits-square"
    assert names[first:] == sorted(names[first:]) and len(set(names)) == len(names)


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_is_valid_and_builds_its_network(name: str) -> None:
    task = read_task(name)
    assert task.name == name
    assert task.description
    if task.goal is None:
        assert task.build_network().classes == load_dataset(task.dataset).classes
    else:
        assert task.build_network().classes == task.build_network().layers[-1].out_shape[0]


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
    with pytest.raises(UnknownNameError, match=r"did you mean mnist-square"):
        read_task("mnist-squar")
    with pytest.raises(ConfigError, match="cannot read the task file nowhere"):
        read_task("nowhere.toml")


def test_content_leaves_out_what_does_not_change_results(tiny: Path) -> None:
    task = read_task(str(tiny))
    renamed = task.model_copy(update={"name": "other", "description": "other"})
    assert renamed.content() == task.content()
    assert task.updated({"batch_size": 25}).content() != task.content()


CONV = """
    {{ type = "conv2d", channels = 4, kernel = {kernel} }},
    {between}
    {{ type = "dense", units = 10 }},
"""


def conv_task(tiny: Path, layers: str) -> Path:
    head, _, _ = tiny.read_text().partition("layers = [")
    tiny.write_text(f"{head}layers = [{layers}]\n")
    return tiny


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (CONV.format(kernel=9, between=""), r"layer 1 \(conv2d\): a 9 x 9 kernel does not fit"),
        (CONV.format(kernel=3, between=""), r"layer 2 \(dense\).*\(4, 6, 6\): put a flatten"),
        (
            CONV.format(kernel=3, between='{ type = "max_pool2d", kernel = 7 },'),
            r"layer 2 \(max_pool2d\): a 7 x 7 kernel does not fit on an input of 6 x 6",
        ),
        (
            CONV.format(
                kernel=3,
                between='{ type = "flatten" }, { type = "conv2d", channels = 2, kernel = 1 },',
            ),
            r"layer 3 \(conv2d\).*\(channels, height, width\).*\(144,\)",
        ),
        ('{ type = "conv2d", channels = 4, kernel = 3 }', r"\(4, 6, 6\), not a vector"),
        (
            '{ type = "dense", units = 10, kernel = 3 }',
            "0.dense.kernel: there is no such",
        ),
        (
            '{ type = "max_pool2d", kernel = 2, units = 3 }',
            "0.max_pool2d.units: there is no",
        ),
        ('{ type = "conv2d", channels = 3 }', "layers.0.conv2d.kernel: it is missing"),
        ('{ type = "conv2d", channels = 3, kernel = 3, stride = 0 }', "conv2d.stride: .*given: 0"),
        ('{ type = "conv2", channels = 3, kernel = 3 }', "did you mean conv2d"),
        ('{ type = ["dense"], units = 3 }', r"unknown layer type \['dense'\]"),
        ("3", "layers.0"),
    ],
)
def test_impossible_layers_say_what_is_wrong(tiny: Path, layers: str, message: str) -> None:
    with pytest.raises(BioplausError, match=message):
        read_task(str(conv_task(tiny, layers))).build_network()


def test_a_layer_table_without_a_type_is_dense(tiny: Path) -> None:
    before = read_task(str(tiny))
    tiny.write_text(tiny.read_text().replace('type = "dense", ', ""))
    assert read_task(str(tiny)).content() == before.content()


def test_content_of_a_layer_is_what_its_kind_has() -> None:
    def content(name: str) -> object:
        network = read_task(name).content()["network"]
        assert isinstance(network, dict)
        return network["layers"]

    active = {"activation": "tanh", "bias": True}
    assert content("digits-mlp") == [
        {"type": "dense", "units": 64} | active,
        {"type": "dense", "units": 64} | active,
        {"type": "dense", "units": 10, "activation": "identity", "bias": True},
    ]
    relu = {"activation": "relu", "bias": True, "stride": 1, "padding": 1, "kernel": 3}
    assert content("digits-conv") == [
        {"type": "conv2d", "channels": 8} | relu,
        {"type": "max_pool2d", "kernel": 2},
        {"type": "conv2d", "channels": 16} | relu,
        {"type": "max_pool2d", "kernel": 2},
        {"type": "flatten"},
        {"type": "dense", "units": 10, "activation": "identity", "bias": True},
    ]


def test_mnist_conv_has_the_shapes_of_lenet() -> None:
    for name in ("mnist-conv", "fashion-mnist-conv"):
        task = read_task(name)
        shapes = [layer.out_shape for layer in task.build_network().layers]
        assert shapes[:5] == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (400,)]
        assert shapes[5:] == [(120,), (84,), (10,)]
        assert (task.loss, task.validation) == ("cross_entropy", 5000)


@pytest.mark.parametrize("which", ["train", "test"])
@pytest.mark.parametrize(
    ("value", "label", "message"),
    [
        (math.nan, 0, "1 of 1437 examples hold NaN or infinity"),
        (-math.inf, 0, "1 of 1437 examples hold NaN or infinity"),
        (0.0, 10, "1 of 1437 labels are not among the classes 0 to 9"),
        (0.0, -1, "1 of 1437 labels are not among the classes 0 to 9"),
    ],
)
def test_values_and_labels_that_cannot_be_trained_on_are_named(
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    which: str,
    value: float,
    label: int,
    message: str,
) -> None:
    digits = registry.load("dataset", "digits")
    real = digits.load

    def damaged(self: object, split: str) -> Split:
        good: Split = real(self, split)
        if split != which:
            return good
        x, y = good.x.double(), good.y.clone()
        x[3, 0, 0, 5], y[7] = value, label
        return Split(x, y)

    monkeypatch.setattr(digits, "load", damaged)
    size = len(real(digits(), which))
    with pytest.raises(DataError) as caught:
        read_task(str(tiny)).load_data()
    said = f"the {which} split of digits: {message.replace('1437', str(size))}"
    assert str(caught.value).startswith(said)
