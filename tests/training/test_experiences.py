"""Experiences in turn: what is shown when, how it is judged, and what is said to be forgotten."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bioplaus.errors import BioplausError, ConfigError, DataError
from bioplaus.experiments.experiment import configure
from bioplaus.numerics.random_streams import Stream
from bioplaus.records.metric import metric_of
from bioplaus.system.interruption import Terminated, handled
from bioplaus.tasks.continual import Continual, Scenario
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.network_spec import NetworkSpec
from bioplaus.tasks.task import Task, read_task
from bioplaus.training.budget import budget
from bioplaus.training.experiences import Experiences
from bioplaus.training.groups import prepared
from bioplaus.training.trainer import Trainer
from tests.helpers.resuming import facts, run, stopping_after
from tests.helpers.tiny import TINY
from tests.helpers.training import CPU

PERMUTED: dict[str, object] = {"task.continual.kind": "permuted", "task.continual.experiences": 3,
                               "task.epochs": 6}  # fmt: skip
LINEAR: dict[str, object] = {"task.batch_size": 10, "task.epochs": 10, "optimizer.lr": 0.01}
SPLIT = {"task.continual.kind": "split", "task.continual.experiences": 5, "task.epochs": 10}


def trainer(rule: str, seeds: list[int], task: Task | None = None, **settings: object) -> Trainer:
    experiment = configure(rule, task or read_task("digits-mlp"), SPLIT | settings)
    splits = prepared(experiment, experiment.task.load_data(), CPU)
    net = experiment.network
    return Trainer(experiment.rule, net, splits, budget(experiment), seeds, probe=False)


def linear() -> Task:
    layer = {"type": "dense", "units": 10, "activation": "identity"}
    network = NetworkSpec.model_validate({"init": "xavier_normal", "layers": [layer]})
    return read_task("digits-mlp").model_copy(update={"network": network})


def test_split_epochs_show_their_own_classes_in_the_seeds_order_whatever_the_rule() -> None:
    both = trainer("backprop", [0, 7], **{"task.batch_size": 20})
    alone = trainer("kolen-pollack", [7], **{"task.batch_size": 20})
    y = both.splits.train.y
    for epoch in range(1, 11):
        index = both.batches(epoch)
        # ten epochs of five experiences: two each, of the classes 2k and 2k + 1
        k = (epoch - 1) // 2
        assert set(y[index].flatten().tolist()) == {2 * k, 2 * k + 1}
        assert torch.equal(index[:, 1], alone.batches(epoch)[:, 0])
        assert all(len(set(own.flatten().tolist())) == own.numel() for own in index.unbind(1))
    assert not torch.equal(both.batches(1), both.batches(2))
    fewest = min(int(((y // 2) == k).sum()) for k in range(5))
    assert both.steps_per_epoch == fewest // 20 == both.stepper._steps_per_epoch


def permutation(seed: int, experience: int, values: int) -> Tensor:
    """As the definition says: the identity, then one of the seed's own stream."""
    if experience == 0:
        return torch.arange(values)
    return Stream(seed).at("permuted values", experience).permutation(values)


@pytest.mark.parametrize("rule", ["backprop", "kolen-pollack"])
def test_permuted_experiences_are_shown_in_the_seeds_own_orders(rule: str) -> None:
    made = trainer(rule, [0, 7], **PERMUTED)
    x, steps = made.splits.train.x, made.steps_per_epoch
    assert steps == len(x) // 30
    for epoch in range(1, 7):
        index = made.batches(epoch)
        assert int(index.max()) > 0.9 * len(x), "all examples in every experience"
        for step in (0, steps - 1):
            number = torch.tensor((epoch - 1) * steps + step)
            shown = made.stepper._shown(*made.stepper.gather(index[step]), number)
            for r, seed in enumerate((0, 7)):
                # six epochs of three experiences: two each
                order = permutation(seed, (epoch - 1) // 2, 64)
                assert torch.equal(shown.x[r], x[index[step, r]][:, order])
    orders = [permutation(seed, k, 64) for seed in (0, 7) for k in (1, 2)]
    assert not any(torch.equal(p, q) for p, q in combinations(orders, 2))


def test_permuted_accuracies_are_those_of_permuted_test_examples() -> None:
    made = trainer("backprop", [0, 7], **PERMUTED)
    made.train()
    test, net = made.splits.test, made.net
    assert test is not None
    for r, (seed, outcome) in enumerate(zip((0, 7), made.outcomes, strict=True)):
        own = {name: t[r] for name, t in made.params.items()}
        # the traced steps have shown them so: what was learned last is known, and was not before
        last = outcome.metrics["test_experience_3"]
        assert (last[3] or 0.0) < 0.5 < 0.8 < (last[5] or 0.0)
        for k in range(3):
            output = net.forward(own, test.x[:, permutation(seed, k, 64)])[-1].output
            right = (output.argmax(1) == test.y).double().mean()
            assert outcome.metrics[f"test_experience_{k + 1}"][-1] == pytest.approx(float(right))


def test_a_linear_model_forgets_classes_that_it_is_no_longer_shown() -> None:
    """Only the classes of the last experience are named in the end: the others' outputs fall."""
    (outcome,) = trainer("backprop", [0], linear(), **LINEAR).train()
    curves = outcome.metrics
    learned = [curves[f"test_experience_{k}"][2 * k - 1] for k in range(1, 6)]
    assert min(value or 0.0 for value in learned) > 0.85
    kept = [curves[f"test_experience_{k}"][-1] for k in range(1, 6)]
    assert max(value or 0.0 for value in kept[:3]) < 0.1
    # the same training; told which two classes it may be, much of it is still there
    scenario = {"task.continual.scenario": "task"}
    (told,) = trainer("backprop", [0], linear(), **LINEAR, **scenario).train()
    assert all(torch.equal(t, outcome.params[name]) for name, t in told.params.items())
    class_wise, task_wise = (o.metrics["test_average_accuracy"][-1] for o in (outcome, told))
    assert class_wise is not None and task_wise is not None and task_wise > class_wise + 0.3


def test_answers_are_chosen_among_all_classes_or_the_experiences_own() -> None:
    """Four classes in two experiences; the outputs are written down, and so are the answers."""
    net = read_task("digits-mlp").build_network()
    y = torch.tensor([0, 1, 2, 3])
    output = torch.full((1, 4, 10), -9.0)
    # example: 0 names 0; 1 names 2, and of {0, 1} 1; 2 names 0, and of {2, 3} 3; 3 names 3
    for example, scores in enumerate([[4, 1, 2, 3], [1, 2, 3, 0], [9, 0, 1, 2], [0, 0, 0, 1]]):
        output[0, example, :4] = torch.tensor(scores, dtype=torch.float32)
    net = type(net)(net.layers, net.loss, 4) if net.classes != 4 else net
    scenarios: dict[Scenario, list[float]] = {"class": [0.5, 0.5], "task": [1.0, 0.5]}
    for scenario, expected in scenarios.items():
        two = Continual(kind="split", experiences=2, scenario=scenario)
        lesson = Experiences(two, 4, 2, "digits")
        split = Split(torch.zeros(4, 64), y)
        exam = lesson.exam(split, "test", split, net)
        judged = lesson.judge(net, output, exam.given)
        marks = lesson.marks({n: t.sum(1) for n, t in judged.items()}, 4)
        assert [float(marks[f"experience_{k}"]) for k in (1, 2)] == expected
        assert float(marks["average_accuracy"]) == sum(expected) / 2


def test_backward_transfer_and_forgetting_are_as_defined() -> None:
    """A matrix of three experiences, two epochs each, worked out by hand."""
    lesson = Experiences(Continual(kind="split", experiences=3), 9, 6, "digits")
    curves = {
        "test_experience_1": [0.5, 0.9, 0.8, 0.95, 0.7, 0.6],
        "test_experience_2": [0.1, 0.2, 0.7, 0.8, 0.75, 0.4],
        "test_experience_3": [0.0, 0.1, 0.2, 0.3, 0.8, 0.9],
    }
    assert lesson.looking_back(curves, 2) == {
        "test_backward_transfer": None, "test_forgetting": None,
    }  # fmt: skip
    third = lesson.looking_back(curves, 3)
    assert third["test_backward_transfer"] == pytest.approx(0.8 - 0.9)
    last = lesson.looking_back(curves, 6)
    # R_31 - R_11 = .6 - .9, R_32 - R_22 = .4 - .8; the best of the first was R_21 = .95
    assert last["test_backward_transfer"] == pytest.approx((-0.3 - 0.4) / 2)
    assert last["test_forgetting"] == pytest.approx((0.35 + 0.4) / 2)
    curves["test_experience_1"][5] = None  # type: ignore[call-overload]
    assert set(lesson.looking_back(curves, 6).values()) == {None}


def test_stopped_and_resumed_the_record_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bioplaus.training.trainer._REPORT_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("bioplaus.system.interruption._PATIENCE_SECONDS", 600.0)
    task = tmp_path / "in-turn.toml"
    text = TINY.replace(
        "[optimizer]", '[continual]\nkind = "permuted"\nexperiences = 3\n\n[optimizer]'
    )
    task.write_text(text)
    whole = run("kolen-pollack", task, tmp_path / "whole")
    assert not whole.problems
    for steps in (7, 20):
        with pytest.raises(Terminated), handled():
            run("kolen-pollack", task, tmp_path / "parts", observe=stopping_after(steps))
    parts = run("kolen-pollack", task, tmp_path / "parts")
    assert [facts(r) for r in parts.records] == [facts(r) for r in whole.records]
    record = parts.records[0]
    metrics = record.curves.metrics
    each = [metrics[f"test_experience_{k}"] for k in (1, 2, 3)]
    assert metrics["test_average_accuracy"] == pytest.approx(
        [sum(v) / 3 for v in zip(*each, strict=True)]  # type: ignore[arg-type]
    )
    assert record.test_accuracy is None
    assert metric_of(record.configuration).score(record) == metrics["test_average_accuracy"][-1]
    # the matrix R of the definitions, one epoch to an experience
    first, second, _ = each
    forgot = max(first[0], first[1]) - first[2] + second[1] - second[2]  # type: ignore[operator, type-var]
    assert metrics["test_forgetting"][-1] == pytest.approx(forgot / 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 12}, "set epochs to 15"),
        ({"epochs": 12, "continual.experiences": 3}, "10 classes"),
        ({"augment.flip": True}, "without augment"),
        ({"continual.scenario": "domain"}, '"class" or "task"'),
        ({"continual.experiences": 1}, "experiences"),
    ],
)
def test_what_cannot_be_is_told(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_task("digits-split").updated(changes).build_network()


def test_too_few_examples_of_an_experience_are_told() -> None:
    settings = {"task.train_examples": 12, "task.batch_size": 12}
    with pytest.raises(DataError, match="do not fill a batch of 12"):
        trainer("backprop", [0], **settings)


def test_keys_without_experiences_stay() -> None:
    assert "continual" not in read_task("digits-mlp").content()
    with pytest.raises(BioplausError, match="scenario of permuted"):
        read_task("digits-permuted").updated({"continual.scenario": "task"})
