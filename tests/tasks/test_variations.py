"""Tasks of another depth, width, activation, size or label noise: what each field means."""

from __future__ import annotations

import pytest
import torch

from bioplaus.benchmark.plan import expand
from bioplaus.benchmark.suite import parse_suite
from bioplaus.errors import BioplausError, ConfigError, DataError
from bioplaus.tasks import names
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import Task, read_task
from bioplaus.tasks.variations import first_examples, with_noisy_labels


def varied(**changes: object) -> Task:
    return read_task("digits-mlp").updated(changes)


@pytest.mark.parametrize("depth", [2, 3, 7])
def test_depth_counts_layers_with_weights(depth: int) -> None:
    widths = [layer.out_shape for layer in varied(depth=depth).build_network().layers]
    assert widths == [(64,)] * (depth - 1) + [(10,)]


def test_width_and_activation_are_the_hidden_layers() -> None:
    network = varied(width=17, activation="relu").build_network()
    assert [layer.out_shape for layer in network.layers] == [(17,), (17,), (10,)]
    assert [str(layer.activation) for layer in network.layers] == ["relu", "relu", "identity"]


def test_convolutions_stay_as_they_are() -> None:
    base = read_task("mnist-conv")
    before = base.build_network().layers
    after = base.updated({"width": 33}).build_network().layers
    kinds = [layer.kind for layer in before]
    assert kinds == [layer.kind for layer in after]
    first = kinds.index("dense")
    assert before[:first] == after[:first]
    assert [layer.out_shape for layer in after[first:-1]] == [(33,)] * (len(after) - first - 1)


@pytest.mark.parametrize("name", names())
def test_fields_that_are_left_out_are_no_part_of_a_key(name: str) -> None:
    fields = {"depth", "width", "activation", "train_examples", "label_noise"}
    assert not fields & read_task(name).content().keys()


def test_what_is_set_is_part_of_the_key() -> None:
    assert varied(depth=4).content()["depth"] == 4
    assert varied(train_examples=100).content()["train_examples"] == 100


def test_few_examples_are_nested_and_leave_validation_and_test_alone() -> None:
    whole = read_task("digits-mlp").load_data()
    small, large = (varied(train_examples=n).load_data() for n in (60, 200))
    rows = {tuple(x.flatten().tolist()) for x in large.train.x}
    assert len(small.train) == 60 and len(large.train) == 200
    assert all(tuple(x.flatten().tolist()) in rows for x in small.train.x)
    assert small.validation is not None and whole.validation is not None
    assert torch.equal(small.validation.x, whole.validation.x)
    assert torch.equal(small.test.y, whole.test.y)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_label_noise_is_that_share_of_wrong_labels(share: float) -> None:
    clean = read_task("digits-mlp").load_data()
    noisy = varied(label_noise=share).load_data()
    wrong = noisy.train.y != clean.train.y
    assert int(wrong.sum()) == int(share * len(clean.train))
    assert torch.equal(noisy.train.x, clean.train.x)
    assert torch.equal(noisy.test.y, clean.test.y)
    noisy.train.check(10)


def test_more_noise_keeps_the_wrong_labels_of_less() -> None:
    split = Split(torch.zeros(500, 1), torch.arange(500) % 7)
    less, more = (with_noisy_labels(split, share, 7, "x").y for share in (0.2, 0.6))
    changed = less != split.y
    assert torch.equal(less[changed], more[changed])
    # every other class is as likely: 300 draws over six shifts
    shifts = ((more - split.y) % 7)[more != split.y].bincount(minlength=7)
    assert shifts[0] == 0 and shifts[1:].min() > 25


def test_a_number_of_examples_does_not_depend_on_what_else_is_asked() -> None:
    split = Split(torch.arange(50.0)[:, None], torch.zeros(50, dtype=torch.int64))
    assert torch.equal(first_examples(split, 50, "x").x, split.x)
    assert len(first_examples(split, 7, "x")) == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 1}, "depth"),
        ({"width": 0}, "width"),
        ({"activation": "swoosh"}, "swoosh"),
        ({"train_examples": 5}, "not between a batch of"),
        ({"train_examples": 5000}, "not between a batch of"),
        ({"label_noise": 1.0}, "label_noise"),
    ],
)
def test_what_cannot_be_varied_is_said(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BioplausError, match=message) as caught:
        task = varied(**changes)
        task.build_network()
        task.load_data()
    assert "\n" not in str(caught.value)


def test_a_network_without_hidden_dense_layers_cannot_get_deeper() -> None:
    with pytest.raises(ConfigError, match="hidden dense layers"):
        read_task("digits-conv").updated({"depth": 9}).build_network()


SWEEP = """
name = "sweep"
rules = ["backprop", "feedback-alignment"]
tasks = ["digits-mlp", { task = "digits-relu", set = { validation = 100 } }]
seeds = 1
[sweep]
train_examples = [50, 100, 100000]
"""


def test_a_suite_sweeps_a_field_over_all_its_tasks() -> None:
    benchmark = expand(parse_suite(SWEEP, "sweep"))
    labels = [(e.rule, e.task.name, e.settings["task.train_examples"]) for e in benchmark.entries]
    assert labels == [
        (rule, task, n)
        for task in ("digits-mlp", "digits-relu")
        for n in (50, 100)
        for rule in ("backprop", "feedback-alignment")
    ]
    assert len(benchmark.skipped) == 1 and "100000" in benchmark.skipped[0]
    swept = {label.split()[-1] for label in (e.base.label for e in benchmark.entries)}
    assert swept == {"task.train_examples=50", "task.train_examples=100"}


def test_a_sweep_has_one_field() -> None:
    with pytest.raises(ConfigError, match="sweep"):
        parse_suite(SWEEP + "depth = [2]\n", "sweep")
    with pytest.raises(BioplausError, match="depht"):
        expand(parse_suite(SWEEP.replace("train_examples", "depht"), "sweep"))


def test_too_few_examples_are_a_data_error() -> None:
    with pytest.raises(DataError, match=r"train_examples is 9, .* that digits has"):
        varied(train_examples=9).load_training_data()
