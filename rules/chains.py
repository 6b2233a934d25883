"""What makes a network more than a chain, and why a rule that shakes units cannot train it."""

from __future__ import annotations

from bioplaus.network.layer import Layer
from bioplaus.network.network import Network


def branching(layer: Layer, number: int) -> str | None:
    """How a refusal begins, where the layer of that number, from 1, is part of a graph."""
    if not layer.branches:
        return None
    return f"layer {number} carries values past others or combines them (a residual block, a graph)"


def shaken_copies(net: Network, doing: str) -> str | None:
    """Why a rule that changes units' potentials cannot train a graph; None for a chain.

    A value that is carried past a layer is a copy of a unit's activity below, whose one potential
    would be changed at two places by two amounts; doing: what would change it.
    """
    for l, layer in enumerate(net.layers, start=1):
        if reason := branching(layer, l):
            return f"{reason}: {doing} these too, which are copies of units elsewhere"
    return None
