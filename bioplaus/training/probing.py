"""Probes of a training without labels, and what they are read against.

Beside what a rule has learned stands, always, what the same readers find in the raw examples
and in the untrained network of the same seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from bioplaus.learning.batching import Rule, unstack
from bioplaus.learning.rule import State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.tasks.dataset import Split
from bioplaus.training.probe import (
    Embedded,
    chosen_examples,
    embedded,
    in_chunks,
    readings,
    ridge,
)

Found = dict[str, list[float | None]]
"""Name -> each replica's number, None where its embeddings are not finite."""

_REFERENCES: dict[str, dict[str, float]] = {}
"""What was read of raw examples and untrained networks, by a digest of what decides it."""
_KEPT = 256


class Probing:
    """Readers of one layer of all replicas of a training."""

    def __init__(
        self,
        rule: Rule,
        net: Network,
        splits: Mapping[str, Split],
        layer: int,
        initial: Params,
    ) -> None:
        """splits: "train" and others that there are. layer: from 1. initial: stacked."""
        train = splits["train"]
        index = chosen_examples(len(train)).to(train.x.device)
        self._splits = {**splits, "train": Split(train.x[index], train.y[index])}
        self._rule, self._net, self._layer = rule, net, layer
        self._replicas = len(next(iter(initial.values())))
        self._initial = {name: tensor.clone() for name, tensor in initial.items()}

    def after_epoch(self, params: Params, state: State) -> Found:
        """`validation_probe_ridge`; nothing without a validation split."""
        if "validation" not in self._splits:
            return {}
        found: list[float | None] = []
        for i in range(self._replicas):
            parts = self._embedded(unstack(params, i), _one(state, i), ("train", "validation"))
            found.append(ridge(parts["train"], parts["validation"]) if _finite(parts) else None)
        return {"validation_probe_ridge": found}

    def at_the_end(self, params: Params, state: State) -> Found:
        """All that readers find, and what they find without any learning."""
        every = []
        for i in range(self._replicas):
            parts = self._embedded(unstack(params, i), _one(state, i), self._splits)
            own = readings(parts) if _finite(parts) else {}
            every.append({**own, **self._references(i)})
        names = sorted({name for each in every for name in each})
        return {name: [each.get(name) for each in every] for name in names}

    def _references(self, index: int) -> dict[str, float]:
        initial = unstack(self._initial, index)
        data = "".join(split.checksum for split in self._splits.values())
        pixels = _remembered(data, lambda: self._named("pixels", _raw(self._splits)))
        own = _digest(data, str(self._layer), initial)
        untrained = _remembered(own, lambda: self._named("untrained", self._forward(initial)))
        return {**pixels, **untrained}

    def _forward(self, params: Params) -> dict[str, Embedded]:
        """Of a plain forward pass, whatever the rule."""

        def embed(x: Tensor) -> Tensor:
            return self._net.forward(params, x)[self._layer - 1].output

        return {name: self._read(split, embed) for name, split in self._splits.items()}

    def _named(self, what: str, parts: Mapping[str, Embedded]) -> dict[str, float]:
        """`test_probe_pixels`, `test_probe_few_pixels` and the like."""
        found = readings(parts) if _finite(parts) else {}
        return {f"{n.replace('_accuracy', '_probe')}_{what}": v for n, v in found.items()}

    def _embedded(
        self, params: Params, state: State, which: Sequence[str] | Mapping[str, Split]
    ) -> dict[str, Embedded]:
        def embed(x: Tensor) -> Tensor:
            return self._rule.embed(self._net, params, state, x, self._layer)

        return {name: self._read(self._splits[name], embed) for name in which}

    def _read(self, split: Split, embed: Callable[[Tensor], Tensor]) -> Embedded:
        return embedded(in_chunks(embed, split.x), split.y)


def _raw(splits: Mapping[str, Split]) -> dict[str, Embedded]:
    return {name: embedded(split.x, split.y) for name, split in splits.items()}


def _one(state: State, index: int) -> State:
    return State(unstack(state.aux, index), unstack(state.memory, index))


def _finite(parts: Mapping[str, Embedded]) -> bool:
    return all(bool(np.isfinite(part.x).all()) for part in parts.values())


def _digest(data: str, layer: str, params: Params) -> str:
    digest = hashlib.sha256(f"{data}/{layer}".encode())
    for name, tensor in params.items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _remembered(key: str, make: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What was read before in this process, of the same data and weights."""
    if key not in _REFERENCES:
        while len(_REFERENCES) >= _KEPT:
            del _REFERENCES[next(iter(_REFERENCES))]
        _REFERENCES[key] = make()
    return _REFERENCES[key]
