"""What makes a network more than a chain."""

from __future__ import annotations

from bioplaus.network.layer import Layer


def branching(layer: Layer, number: int) -> str | None:
    """How a refusal begins, where the layer of that number, from 1, is part of a graph."""
    if not layer.branches:
        return None
    return f"layer {number} carries values past others or combines them (a residual block, a graph)"
