"""Recurrent spiking layers: their spikes, their adjoint in time, their tables."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from bioplaus.axes.robustness import feedback
from bioplaus.errors import ConfigError
from bioplaus.learning.gradients import batched_loss_grad
from bioplaus.network.activations import Relu
from bioplaus.network.conv import Conv2d
from bioplaus.network.layer import Dense, Layer
from bioplaus.network.neuron import Neuron
from bioplaus.network.recurrent import Recurrent
from bioplaus.network.time import AtEachStep
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.pruning import Pruning
from bioplaus.tasks.task import read_task
from tests.helpers.networks import autograd_grads, every_seed, get_rule, rel, run_rule, worst
from tests.helpers.spiking import (
    SURROGATES,
    grads_step_by_step,
    image_batch,
    lively_params,
    replicas_of_backprop,
    spiking_network,
    step_by_step,
    task_text,
)

CHOICES = [
    *product(
        ("subtract", "zero"),
        (False, True),
        SURROGATES,
        (0, 2),
        (0, 1),
        (True, False),
    )
]


@every_seed
def test_spikes_are_those_of_all_layers_step_by_step(seed: int) -> None:
    net = spiking_network((16, 30, 20, 10), Neuron(0.75), 20, recurrent=True)
    params, batch = lively_params(net, seed), image_batch(net, 5, seed)
    together = step_by_step(net, params, batch.x)
    alone = step_by_step(net, params | {"2.recurrent": 0 * params["2.recurrent"]}, batch.x)
    assert not together[0].equal(alone[0])
    for step, train in zip(net.forward(params, batch.x)[1:-1], together, strict=True):
        assert step.output.equal(train)
        assert step.output.any()
    assert rel(net.output(params, batch.x), together[-1].mean(1)) <= 1e-14


@every_seed
def test_backprop_is_autograds_gradient_through_an_explicit_loop(seed: int) -> None:
    """96 kinds of network; each seed takes every fifth, so each kind is tried twice."""
    assert len(CHOICES) == 96
    alive = 0
    for reset, through, surrogate, refractory, delay, fires in CHOICES[seed % 5 :: 5]:
        neuron = Neuron(0.8, 0.9, reset, refractory, 1.1, surrogate, through)
        top = replace(neuron, fires=fires)
        net = spiking_network((8, 10, 7, 4), neuron, 8, top=top, delay=delay, recurrent=True)
        params, batch = lively_params(net, seed), image_batch(net, 3, seed)
        true = grads_step_by_step(net, params, batch)
        assert worst(run_rule("backprop", net, params, batch).grads, true) <= 1e-10
        assert worst(autograd_grads(net, params, batch), true) <= 1e-10  # what probes compare with
        alive += bool(true["2.recurrent"].any())
    assert alive >= 15


@every_seed
def test_replicas_in_the_harness(seed: int) -> None:
    net = spiking_network((20, 15, 12, 4), Neuron(0.75), 10, recurrent=True)
    params, batch, grads = replicas_of_backprop(net, seed)
    assert worst(grads, batched_loss_grad(net)(params, batch)) <= 1e-10
    for name, grad in grads.items():
        for k in range(3):
            own = {n: t[k] for n, t in params.items()}
            assert rel(grad[k], run_rule("backprop", net, own, batch).grads[name]) <= 1e-10


def test_without_recurrent_weights_it_is_the_layer_without_them() -> None:
    plain, joined = (
        spiking_network((8, 10, 4), Neuron(0.8), 8, recurrent=recurrent)
        for recurrent in (False, True)
    )
    params, batch = lively_params(joined, 0), image_batch(joined, 3, 0)
    params["2.recurrent"] = torch.zeros(10, 10, dtype=torch.float64)
    ours = run_rule("backprop", joined, params, batch).grads
    theirs = run_rule("backprop", plain, params, batch).grads
    assert worst({name: ours[name] for name in theirs}, theirs) <= 1e-14


def test_work_counts_the_recurrent_weights() -> None:
    layer = Recurrent(Dense(4, 6), 7, Neuron())
    assert layer.multiply_adds() == 7 * 24 + 6 * 36


def test_impossible_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match="a neuron that fires"):
        Recurrent(Dense(4, 6), 7, Neuron(fires=False))
    with pytest.raises(ConfigError, match="a neuron that fires"):
        Recurrent(Dense(4, 6), 7, Relu())
    with pytest.raises(ConfigError, match="plain dense layer"):
        Recurrent(Conv2d((3, 2, 2), 4, 2), 7, Neuron())


TASK = task_text("{ units = 12, neuron = { decay = 0.9 }, recurrent = true }")


def layers(tmp_path: Path, old: str = "", new: str = "") -> tuple[Layer, ...]:
    path = tmp_path / "memory.toml"
    assert old in TASK
    path.write_text(TASK.replace(old, new) if old else TASK)
    return read_task(str(path)).build_network().layers


def test_a_table_says_recurrent(tmp_path: Path) -> None:
    assert layers(tmp_path)[1] == Recurrent(Dense(64, 12), 6, Neuron(0.9))
    plain = AtEachStep(Dense(64, 12), 6, Neuron(0.9))
    assert layers(tmp_path, "recurrent = true", "recurrent = false")[1] == plain
    assert layers(tmp_path, ", recurrent = true")[1] == plain


def test_a_layer_that_is_not_recurrent_leaves_no_mark_in_a_tasks_key(tmp_path: Path) -> None:
    task = read_task("digits-spiking")
    assert "recurrent" not in task.model_dump_json(exclude_none=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fires = false }", "fires = false }, recurrent = true", "layer 3 .*a neuron that fires"),
        ("neuron = { decay = 0.9 }", 'activation = "relu"', "layer 2 .*a neuron that fires"),
        ("recurrent = true", "recurrent = true, truncate = 1", "layer 2 .*plain dense layer"),
        ("{ units = 12,", '{ type = "tower", units = 12,', "recurrent"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        layers(tmp_path, old, new)


def test_recurrent_weights_need_time(tmp_path: Path) -> None:
    path = tmp_path / "no-time.toml"
    head = TASK.partition("[network]")[0]
    path.write_text(head + "[network]\nlayers = [{ units = 10, recurrent = true }]\n")
    with pytest.raises(ConfigError, match=r"layer 1 \(dense\): .*need time: set steps"):
        read_task(str(path)).build_network()


def test_recurrent_weights_are_pruned_and_quantised_like_the_others() -> None:
    net = spiking_network((8, 10, 4), Neuron(0.8), 8, recurrent=True)
    params = lively_params(net, 0)
    masks = Pruning(sparsity=0.3).masks(net, params, 0)
    assert {name: int((~m).sum()) for name, m in masks.items()} == {
        "2.weight": 24,
        "2.recurrent": 30,
    }
    drawn = get_rule("feedback-alignment").init_state(net, params, Stream(0)).memory
    assert feedback(drawn).keys() == {"2.recurrent", "3.weight"}
