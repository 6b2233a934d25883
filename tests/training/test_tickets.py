"""Lottery tickets: read from the dense network of the seed, the same for every rule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bioplaus.errors import ConfigError
from bioplaus.experiments.experiment import Experiment, configure
from bioplaus.network.layer import Params
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.pruning import Pruning
from bioplaus.tasks.task import read_task
from bioplaus.training import tickets
from bioplaus.training.budget import budget
from bioplaus.training.groups import prepared
from bioplaus.training.trainer import Trainer
from tests.helpers.training import CPU


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "STEPS", 60)
    monkeypatch.setattr(tickets, "_held", type(tickets._held)())


def experiment(rule: str = "backprop", **settings: object) -> Experiment:
    pruning = {"task.pruning.sparsity": 0.8, "task.pruning.kind": "ticket"}
    return configure(rule, read_task("digits-mlp"), {**pruning, **settings}, "fp64")


def masks(made: Experiment, seed: int) -> Params:
    dense, pruning = tickets.dense_of(made), made.task.pruning
    assert dense is not None and pruning is not None
    net = made.network
    start = net.init(Stream(seed).at("parameters"))
    return pruning.masks(net, start, seed, dense(net, seed))


def test_the_largest_weights_of_each_layer_stay() -> None:
    made = experiment()
    dense = tickets.dense_of(made)
    assert dense is not None
    found, trained = masks(made, 0), dense(made.network, 0)
    assert list(found) == ["1.weight", "2.weight"]
    for name, mask in found.items():
        size = trained[name].abs()
        assert int((~mask).sum()) == round(0.8 * mask.numel())
        assert float(size[mask].min()) >= float(size[~mask].max())
    looser = Pruning(sparsity=0.5, kind="ticket").masks(made.network, trained, 0, trained)
    assert all(bool((found[n] <= looser[n]).all()) for n in found), "nested in the share"
    assert not torch.equal(found["1.weight"], masks(made, 1)["1.weight"])


def test_the_dense_network_is_what_backprop_trains() -> None:
    """Sixty steps of the run itself: the seed's start, its batches, Adam at 0.001."""
    plain = configure("backprop", read_task("digits-mlp"),
                      {"task.batch_size": 40, "task.epochs": 2}, "fp64")  # fmt: skip
    splits = prepared(plain, plain.task.load_training_data(), CPU)
    trainer = Trainer(plain.rule, plain.network, splits, budget(plain), [3], probe=False)
    assert 2 * trainer.steps_per_epoch == tickets.STEPS
    trainer.train()
    dense = tickets.dense_of(experiment(**{"task.batch_size": 40}))
    assert dense is not None
    for name, tensor in dense(plain.network, 3).items():
        torch.testing.assert_close(tensor, trainer.params[name][0], rtol=0, atol=1e-12)


def test_a_ticket_knows_all_examples_and_no_rule() -> None:
    whole = masks(experiment(), 0)
    for other in (
        experiment(**{"task.train_examples": 60}),
        experiment("feedback-alignment", **{"optimizer.lr": 0.1}),
    ):
        assert all(torch.equal(m, whole[n]) for n, m in masks(other, 0).items())
    noisy = masks(experiment(**{"task.label_noise": 0.5}), 0)
    assert not torch.equal(noisy["1.weight"], whole["1.weight"]), "it learns the task's labels"


@pytest.mark.parametrize("rule", ["backprop", "kolen-pollack"])
def test_what_is_no_part_of_the_ticket_stays_zero(rule: str) -> None:
    made = experiment(rule, **{"task.train_examples": 60, "task.epochs": 2})
    splits = prepared(made, made.task.load_training_data(), CPU)
    trainer = Trainer(made.rule, made.network, splits, budget(made), [0, 1], probe=False)
    start = trainer.params["1.weight"].clone()
    trainer.train()
    for seed in (0, 1):
        mask, after = masks(made, seed)["1.weight"], trainer.params["1.weight"][seed]
        assert not bool(after[~mask].any()) and not bool(start[seed][~mask].any())
        assert bool((after != start[seed])[mask].any())


def test_random_masks_need_no_dense_network() -> None:
    made = configure("backprop", read_task("digits-mlp"), {"task.pruning.sparsity": 0.8})
    assert tickets.dense_of(made) is None and budget(made).dense is None
    plain = configure("backprop", read_task("digits-mlp"), {})
    assert budget(plain).dense is None


@pytest.mark.parametrize("task", ["digits-reconstruction", "friedman-mlp", "digits-permuted"])
def test_tickets_are_for_classes(task: str, tmp_path: Path) -> None:
    changed = {"pruning": {"sparsity": 0.5, "kind": "ticket"}}
    with pytest.raises(ConfigError, match=r"a ticket .* is for tasks of classes"):
        read_task(task).updated(changed).build_network()
