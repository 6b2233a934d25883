"""What an inference of a spiking network costs: spikes, and synaptic operations.

A synaptic operation is a nonzero weight that a nonzero activity reaches: of a spike, as many as
its neuron has nonzero weights to the layer above. Where a layer reads spikes it adds weights up,
accumulates (AC); where it reads other numbers it multiplies too (MAC). Biases count nothing. Sums
are over all steps of one example, so they are per inference: the effective ACs and MACs of
NeuroBench (Yik et al. 2025, arXiv:2304.04640). An example that is a sequence is spikes where all of
its numbers are 0 or 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from bioplaus.network.activations import Identity
from bioplaus.network.layer import Layer, LayerTrace, Params
from bioplaus.network.network import Network, Trace
from bioplaus.network.neuron import Neuron
from bioplaus.network.time import AtEachStep, Encode

_KEEP_SPIKES = ("flatten", "max_pool2d", "unflatten")
"""Layers that give spikes where they read spikes."""


class Activity(NamedTuple):
    """Of each example of a batch, (N,) in float64."""

    spikes: dict[int, Tensor]
    """By layers that spike, from 1; an encoder's are the input's."""
    accumulates: Tensor
    """Synaptic operations on spikes."""
    multiply_accumulates: Tensor
    """Synaptic operations on other numbers."""


Gives = bool | None
"""Whether a layer gives spikes; None where the example decides."""


def spiking_layers(net: Network) -> list[Gives]:
    """Of each layer, whether what it gives is spikes."""
    found: list[Gives] = []
    for layer in net.layers:
        found.append(_spikes(layer, found[-1] if found else False))
    return found


def why_not_counted(net: Network) -> str | None:
    """None where `activity` can be counted, else the reason why not."""
    if not any(isinstance(k.activation, Neuron) and k.activation.fires for k in net.layers):
        return "no unit spikes"
    if not all(layer.linear for layer in net.layers):
        return "not all weights multiply all that their layer reads"
    return None


def activity(net: Network, params: Params, trace: Trace) -> Activity:
    """What a forward pass cost: whole numbers, exact where a unit has below 2^24 inputs."""
    gives = spiking_layers(net)
    share = [_share(step.output, spiking) for step, spiking in zip(trace, gives, strict=True)]
    spikes = {
        l: _total(step.output != 0) * share[l - 1]
        for l, (layer, step) in enumerate(zip(net.layers, trace, strict=True), 1)
        if gives[l - 1] is not False and layer.kind not in _KEEP_SPIKES
    }
    added = multiplied = torch.zeros_like(share[0])
    for l, (layer, step) in enumerate(zip(net.layers, trace, strict=True)):
        for below, operations in _operations(layer, net.at(params, l), step, l):
            on_spikes = share[below] if below >= 0 else torch.zeros_like(operations)
            added = added + operations * on_spikes
            multiplied = multiplied + operations * (1 - on_spikes)
    return Activity(spikes, added, multiplied)


def is_spikes(train: Tensor) -> Tensor:
    """Of each example, (N,), whether all of its numbers are 0 or 1."""
    return ((train == 0) | (train == 1)).flatten(1).all(1)


def _share(train: Tensor, spiking: Gives) -> Tensor:
    """1 for each example whose train is spikes, else 0; (N,) in float64."""
    found = is_spikes(train).double()
    return found if spiking is None else torch.full_like(found, float(spiking))


def _spikes(layer: Layer, below: Gives) -> Gives:
    if isinstance(layer, Encode):
        if layer.how == "sequence":
            return None
        return layer.how in ("accumulate", "latency", "bernoulli")
    if isinstance(layer.activation, Neuron):
        return layer.activation.fires
    keeps = layer.kind in _KEEP_SPIKES and isinstance(layer.activation, Identity)
    return below if keeps else False


def _operations(layer: Layer, p: Params, step: LayerTrace, l: int) -> Iterator[tuple[int, Tensor]]:
    """Those of layer l from 0, (N,), and the layer whose activity they are on, -1 for the input;
    those on what comes along time apart."""
    if layer.multiply_adds() == 0:
        return
    ones = {name: _ones(t) if name == "weight" else torch.zeros_like(t) for name, t in p.items()}
    read = _ones(step.input)
    # of a layer in time what it reads from below, whatever else moves its units
    reach = AtEachStep.forward(layer, ones, read) if isinstance(layer, AtEachStep) else (
        layer.forward(ones, read)
    )  # fmt: skip
    yield l - 1, _total(reach[0].round())  # a fast convolution rounds
    if "recurrent" in p:
        fan_out = _ones(p["recurrent"]).sum(0)
        yield l, _total(_ones(step.output)[:, :-1] * fan_out)


def _ones(t: Tensor) -> Tensor:
    return (t != 0).to(t.dtype)


def _total(t: Tensor) -> Tensor:
    """The sum of each example, in float64."""
    return t.flatten(1).sum(1, dtype=torch.float64)
