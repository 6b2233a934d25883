"""What the units of a trained spiking network do on one example, step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bioplaus.axes.weights_of_records import Observer, WeightsOfRecords
from bioplaus.errors import BioplausError, ConfigError
from bioplaus.experiments.experiment import Experiment
from bioplaus.learning.batching import cast, unstack
from bioplaus.learning.prediction import PredictionNoise, positions
from bioplaus.network.activations import Activation
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron
from bioplaus.network.synapses import activity, is_spikes, spiking_layers, why_not_counted
from bioplaus.records.schema import Record
from bioplaus.records.store import Store
from bioplaus.running.verify import experiment_of
from bioplaus.system.device import PRECISIONS
from bioplaus.tasks.door import load_dataset
from bioplaus.training.groups import prepared

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """One layer's units along time."""

    name: str
    spikes: Floats
    """(T, n), 0 or 1; units in the order of the flattened layer."""
    potentials: Floats | None
    """(T, n) before the reset; None of an encoder's units."""
    thresholds: Floats
    """Which potentials had to reach, (T, n) where they adapt to spikes, else a number."""


@dataclass(frozen=True)
class OneExample:
    """One example's way through a network."""

    title: str
    image: Floats | None
    """(rows, columns) of an example of one channel; None of other data."""
    label: int | None
    answers: Floats
    """The outputs, one for each class."""
    layers: tuple[Shown, ...]
    spikes: float
    synaptic_operations: float


def is_spiking(record: Record) -> bool:
    """Whether its network's units spike, by what the record says of its task; else no guess."""
    network = record.configuration.get("task", {}).get("network", {})
    layers = network.get("layers", []) if isinstance(network, dict) else []
    return any(isinstance(layer, dict) and layer.get("neuron") for layer in layers)


def one_example(store: Store, record: Record, index: int, observe: Observer) -> OneExample:
    """Of the test split's example of that index; the network is loaded, or trained once more.

    ConfigError for an index beyond the split, or a network without spikes.
    """
    experiment, data = experiment_of(record)
    net = experiment.network
    if why := why_not_counted(net):
        raise ConfigError(f"{record.task} has no spikes to show: {why}")
    device = torch.device("cpu")
    test = prepared(experiment, data, device).test
    if test is None or not 0 <= index < len(test):
        count = 0 if test is None else len(test)
        raise ConfigError(f"there is no example {index}: the test split has {count}, from 0")
    if record.status == "diverged":
        raise BioplausError(f"seed {record.seed} diverged: it has no network to show")
    weights = WeightsOfRecords(store, [record], observe)
    found = weights.saved(record, experiment) or weights.trained_again(record)
    params = cast(found.params, PRECISIONS[experiment.precision], device)
    drawn = PredictionNoise(experiment.rule, net, [record.seed], test.x.dtype, device)
    noise = unstack(drawn.each(positions(len(test), device)[index : index + 1]), 0)
    with torch.no_grad():
        trace = net.forward(params | noise, test.x[index : index + 1])
        costs = activity(net, params, trace)
    layers = []
    for l, spikes in enumerate(spiking_layers(net)):
        neuron = net.layers[l].activation
        shown = bool(is_spikes(trace[l].output)) if spikes is None else spikes
        if shown and (l == 0 or isinstance(neuron, Neuron)):
            potentials = trace[l].preactivation if isinstance(neuron, Neuron) else None
            layers.append(Shown(
                _name(net, l), _steps(trace[l].output),
                None if potentials is None else _steps(potentials),
                _thresholds(neuron, trace[l].output),
            ))  # fmt: skip
    outputs = trace[-1].output[0, : net.classes].double().numpy()
    return OneExample(
        f"{record.rule} on {record.task}, seed {record.seed}, example {index} of the test split",
        _image(experiment, test.x[index]),
        int(test.y[index]) if "classes" in experiment.task.gives else None,
        outputs,
        tuple(layers),
        float(sum(count.sum() for count in costs.spikes.values())),
        float((costs.accumulates + costs.multiply_accumulates).sum()),
    )


def _name(net: Network, l: int) -> str:
    layer = net.layers[l]
    return "input" if l == 0 else f"layer {l + 1}, {layer.kind}"


def _thresholds(neuron: Activation, spikes: torch.Tensor) -> Floats:
    if isinstance(neuron, Neuron) and neuron.adaptation:
        return _steps(torch.as_tensor(neuron.thresholds(spikes)))
    return np.array(neuron.threshold if isinstance(neuron, Neuron) else 1.0)


def _steps(train: torch.Tensor) -> Floats:
    """(1, T, ...) as (T, n)."""
    return train[0].flatten(1).double().numpy()


def _image(experiment: Experiment, x: torch.Tensor) -> Floats | None:
    shape = load_dataset(experiment.task.dataset).shape
    if len(shape) != 3 or shape[0] != 1 or x.numel() != shape[1] * shape[2]:
        return None
    return x.reshape(shape[1:]).double().numpy()
