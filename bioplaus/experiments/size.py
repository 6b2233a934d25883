"""Whether a network is one that this machine can hold at all: asked before anything is drawn."""

from __future__ import annotations

import psutil

from bioplaus.errors import ConfigError
from bioplaus.network.layer import Dense, Layer
from bioplaus.network.network import Network

_DRAWN = 8
"""Bytes of a weight where it is drawn, in float64 on the CPU, whatever trains later."""


def check_size(net: Network, task: str) -> None:
    """ConfigError where the weights of dense layers alone take more than all memory there is."""
    need = _DRAWN * sum(_weights(layer) for layer in net.layers)
    there = psutil.virtual_memory().total
    if need > there:
        raise ConfigError(
            f"task {task}: its weights alone take {need / 1e9:,.0f} GB as they are drawn, and this "
            f"machine has {there / 1e9:,.0f} GB: make layers smaller"
        )


def _weights(layer: Layer) -> int:
    inner = getattr(layer, "inner", layer)  # of a node, or of a layer at each step
    if isinstance(inner, Dense):
        return inner.multiply_adds()
    return _weights(inner) if inner is not layer else 0
