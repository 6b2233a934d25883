"""Layer tables of networks in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioplaus.errors import ConfigError
from bioplaus.network.layer import Dense
from bioplaus.network.neuron import Atan, Neuron
from bioplaus.network.time import AtEachStep, Encode, Readout
from bioplaus.tasks.task import read_task

TASK = """
name = "trains"
dataset = "digits"
loss = "mse"
batch_size = 50
epochs = 2

[optimizer]
name = "adam"

[network]
steps = 6
layers = [
    { type = "encode", how = "current" },
    { units = 12, neuron = { decay = 0.9, decay_input = true, reset = "zero", refractory = 2, \
surrogate = "atan", through_reset = true } },
    { units = 10, delay = 1, bias = false, neuron = { decay = 0.8, fires = false } },
    { type = "readout" },
]
"""


def task_file(tmp_path: Path, old: str = "", new: str = "") -> str:
    path = tmp_path / "trains.toml"
    assert old in TASK
    path.write_text(TASK.replace(old, new) if old else TASK)
    return str(path)


def test_tables_are_layers(tmp_path: Path) -> None:
    net = read_task(task_file(tmp_path)).build_network()
    hidden = Neuron(0.9, 1.0, "zero", 2, 1 - 0.9, Atan(2.0), through_reset=True)
    assert net.layers == (
        Encode((64,), 6, "current"),
        AtEachStep(Dense(64, 12), 6, hidden),
        AtEachStep(Dense(12, 10, bias=False), 6, Neuron(0.8, fires=False), delay=1),
        Readout((10,), 6),
    )


def test_the_task_that_is_built_in() -> None:
    net = read_task("digits-spiking").build_network()
    unit = Neuron(0.75)
    assert net.layers == (
        Encode((64,), 20),
        AtEachStep(Dense(64, 300, bias=False), 20, unit),
        AtEachStep(Dense(300, 10, bias=False), 20, unit, delay=1),
        Readout((10,), 20),
    )


def test_depth_and_width_vary_what_is_below_the_readout() -> None:
    task = read_task("digits-spiking").updated({"depth": 3, "width": 40})
    shapes = [layer.unit_shape for layer in task.build_network().layers]
    assert shapes == [(64,), (40,), (40,), (10,), (10,)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 6", "", r"layer 1 \(encode\): .*`steps` in \[network\]"),
        ('{ type = "encode", how = "current" },', "", r"layer 1 \(dense\): encode is the first"),
        ('    { type = "readout" },\n', "", r"layer 3 \(dense\): readout is the last"),
        ('how = "current"', 'how = "poisson"', "how"),
        ('surrogate = "atan"', 'surrogate = "tan"', "unknown surrogate 'tan'"),
        ("decay = 0.9,", "decay = 1.0,", "leaves no current"),
        ("decay = 0.9,", "decay = 1.5,", "decay"),
        ("delay = 1", "delay = 2", "delay"),
        ("units = 12,", 'units = 12, activation = "relu",', "leave out 'relu'"),
        (
            "{ units = 10, delay",
            '{ type = "residual", layers = [{ units = 12 }] }, { units = 10, delay',
            r"layer 3 \(residual\): there are no residual blocks",
        ),
        ("steps = 6", "steps = 0", "steps"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_task(task_file(tmp_path, old, new)).build_network()


def test_a_neuron_needs_time(tmp_path: Path) -> None:
    path = tmp_path / "no-time.toml"
    path.write_text(
        TASK.partition("[network]")[0] + "[network]\nlayers = [{ units = 10, neuron = {} }]\n"
    )
    with pytest.raises(ConfigError, match=r"layer 1 \(dense\): .*set steps"):
        read_task(str(path)).build_network()
