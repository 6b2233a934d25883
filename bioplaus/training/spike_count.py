"""Spikes and synaptic operations per inference, of all replicas of a spiking network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import vmap

from bioplaus.learning.batching import Rule
from bioplaus.learning.prediction import PredictionNoise, positions
from bioplaus.learning.rule import LearningRule
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.network.synapses import activity, why_not_counted
from bioplaus.tasks.dataset import Split

_ELEMENTS = 2**22
"""Activities of the largest layer held at once, over all replicas; of a trace, all layers'."""


def is_counted(rule: Rule, net: Network) -> bool:
    """Whether an inference is a forward pass of a network that spikes."""
    kind = type(rule)
    plain = kind.predict is LearningRule.predict and kind.predict_with is LearningRule.predict_with
    return plain and why_not_counted(net) is None


class SpikeCount:
    """Means over the test split: `test_spikes`, `test_spikes.2` of layer 2 alone,
    `test_synaptic_operations`, and those of them that multiply, `test_multiply_accumulates`."""

    def __init__(self, rule: Rule, net: Network, test: Split, seeds: Sequence[int]) -> None:
        self._net, self._x = net, test.x
        self._noise = PredictionNoise(rule, net, seeds, test.x.dtype, test.x.device)
        units = max(torch.Size(layer.out_shape).numel() for layer in net.layers)
        self._chunk = max(1, _ELEMENTS // (len(seeds) * units))
        self._counts = vmap(self._one, in_dims=(0, None, 0))

    def __call__(self, params: Params) -> dict[str, list[float | None]]:
        """Each replica's; params stacked."""
        places = positions(len(self._x), self._x.device)
        sums: dict[str, Tensor] = {}
        parts = (torch.split(t, self._chunk) for t in (self._x, places))
        for x, at in zip(*parts, strict=True):
            for name, total in self._counts(params, x, self._noise.each(at)).items():
                sums[name] = sums[name] + total if name in sums else total
        return {f"test_{name}": (t / len(self._x)).tolist() for name, t in sums.items()}

    def _one(self, params: Params, x: Tensor, noise: Params) -> dict[str, Tensor]:
        found = activity(self._net, params, self._net.forward(params | noise, x))
        by_layer = {f"spikes.{l}": count.sum() for l, count in found.spikes.items()}
        both = found.accumulates + found.multiply_accumulates
        return {
            "spikes": torch.stack(list(by_layer.values())).sum(),
            **by_layer,
            "synaptic_operations": both.sum(),
            "multiply_accumulates": found.multiply_accumulates.sum(),
        }
