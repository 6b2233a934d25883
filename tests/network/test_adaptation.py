"""Neurons whose threshold adapts: their spikes, their errors, their tables."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from bioplaus.errors import ConfigError
from bioplaus.learning.gradients import batched_loss_grad
from bioplaus.network.neuron import Neuron
from bioplaus.tasks.task import Task, read_task
from tests.helpers.networks import autograd_grads, draw, every_seed, rel, run_rule, worst
from tests.helpers.spiking import (
    SURROGATES,
    Unit,
    grads_step_by_step,
    image_batch,
    lively_params,
    replicas_of_backprop,
    spiking_network,
    step_by_step,
    task_text,
)

UNIT = Neuron(0.9, 0.6, adaptation=0.2, adaptation_decay=0.85)


def test_a_threshold_that_keeps_what_spikes_add_counts_them() -> None:
    """Of units without memory, on a current that grows: the n-th spike needs 1 + (n - 1) / 4."""
    unit = Neuron(0.0, 1.0, adaptation=0.25, adaptation_decay=1.0)
    current = torch.arange(1, 33, dtype=torch.float64) / 16
    _, spikes = unit.run(current[None, :, None])
    wanted, needed = [], 1.0
    for value in current.tolist():
        wanted.append(float(value >= needed))
        needed += 0.25 * wanted[-1]
    assert spikes[0, :, 0].tolist() == wanted
    assert 1 < sum(wanted) < len(wanted) / 2
    reached = unit.thresholds(spikes)
    assert isinstance(reached, torch.Tensor)
    assert reached[0, -1, 0] == needed - 0.25 * wanted[-1]


@every_seed
@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("refractory", [0, 2])
def test_runs_are_the_equations_step_by_step(reset: str, refractory: int, seed: int) -> None:
    neuron = replace(UNIT, reset=reset, refractory=refractory)
    a = 1.5 * draw(seed, "currents", 6, 25, 8)
    unit = Unit(neuron)
    pairs = [unit.step(a[:, t]) for t in range(25)]
    together = torch.vmap(neuron.run)(a[:, None])
    for k, train in enumerate(neuron.run(a)):
        assert train.equal(torch.stack([pair[k] for pair in pairs], 1))
        assert train.equal(together[k][:, 0])
    assert not neuron.run(a)[1].equal(replace(neuron, adaptation=0.0).run(a)[1])


CHOICES = [
    *product(("subtract", "zero"), (False, True), SURROGATES, (0, 2), (0, 1), (False, True)),
]


@every_seed
def test_backprop_is_autograds_gradient_through_an_explicit_loop(seed: int) -> None:
    """96 kinds of network; each seed takes every tenth."""
    assert len(CHOICES) == 96
    for reset, through, surrogate, refractory, delay, recurrent in CHOICES[seed::10]:
        neuron = Neuron(0.8, 0.7, reset, refractory, 1.1, surrogate, through, True, 0.3, 0.9)
        net = spiking_network((8, 10, 7, 4), neuron, 8, delay=delay, recurrent=recurrent)
        params, batch = lively_params(net, seed), image_batch(net, 3, seed)
        for step, train in zip(
            net.forward(params, batch.x)[1:-1], step_by_step(net, params, batch.x), strict=True
        ):
            assert step.output.equal(train)
        true = grads_step_by_step(net, params, batch)
        assert worst(run_rule("backprop", net, params, batch).grads, true) <= 1e-10
        assert worst(autograd_grads(net, params, batch), true) <= 1e-10  # what probes compare with


@every_seed
def test_replicas_in_the_harness(seed: int) -> None:
    net = spiking_network((20, 15, 12, 4), UNIT, 10, recurrent=True)
    params, batch, grads = replicas_of_backprop(net, seed)
    assert worst(grads, batched_loss_grad(net)(params, batch)) <= 1e-10
    for name, grad in grads.items():
        own = {n: t[0] for n, t in params.items()}
        assert rel(grad[0], run_rule("backprop", net, own, batch).grads[name]) <= 1e-10


def changed(tmp_path: Path, neuron: str) -> Task:
    path = tmp_path / "adaptive.toml"
    path.write_text(TASK.replace("decay = 0.75", neuron, 1))
    return read_task(str(path))


TASK = task_text("{ units = 12, neuron = { decay = 0.75 } }")


def test_tables_make_them_and_no_adaptation_is_the_task_as_it_was(tmp_path: Path) -> None:
    task = changed(tmp_path, "decay = 0.75, adaptation = 0.2, adaptation_decay = 0.97")
    wanted = Neuron(0.75, adaptation=0.2, adaptation_decay=0.97)
    assert task.build_network().layers[1].activation == wanted
    before, without = (
        changed(tmp_path, neuron) for neuron in ("decay = 0.75", "decay = 0.75, adaptation = 0.0")
    )
    assert before.build_network() == without.build_network()
    assert before.model_dump(exclude_none=True) == without.model_dump(exclude_none=True)


@pytest.mark.parametrize(
    ("neuron", "message"),
    [
        ("adaptation = 0.2", "needs adaptation_decay, such as 0.97"),
        ("adaptation_decay = 0.9", "is of an adaptation, which is missing or 0"),
        ("adaptation = -0.2, adaptation_decay = 0.9", "adaptation"),
        ("adaptation = inf, adaptation_decay = 0.9", "adaptation"),
        ("adaptation = 0.2, adaptation_decay = 1.5", "adaptation_decay"),
        ("adaptation = 0.2, adaptation_decay = 0.9, fires = false", "does not fire"),
    ],
)
def test_impossible_tables_are_refused(tmp_path: Path, neuron: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        changed(tmp_path, neuron)


def test_impossible_neurons_are_refused() -> None:
    for fields in ({"adaptation": -1.0}, {"adaptation": 0.1, "adaptation_decay": 1.1}):
        with pytest.raises(ConfigError, match="adaptation"):
            Neuron(**fields)  # type: ignore[arg-type]
