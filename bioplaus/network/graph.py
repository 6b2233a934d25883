"""A computation graph as the chain of layers that a network is.

Nodes stand in an order in which each reads only those before it. Each becomes one layer, which
carries past it what later nodes still read (`Wire`); where there is nothing to carry, it is the
node's own layer. A rule that trains chains then trains graphs: what every layer of the chain
promises is all that it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bioplaus.network.layer import Layer, Shape
from bioplaus.network.wire import Wire


class Node(NamedTuple):
    """One node: a layer, and what it reads."""

    layer: Layer
    """One of several inputs reads them one after the other, as one vector."""
    inputs: tuple[int, ...]
    """0 for the network's input, k for the k-th node, each before this one."""


def compile_graph(in_shape: Shape, nodes: Sequence[Node]) -> tuple[Layer, ...]:
    """The chain of the graph, layer k for node k; its output is the last node's.

    Example: h + f(h) for a dense layer f.

        >>> from bioplaus.network.combining import Add
        >>> from bioplaus.network.layer import Dense
        >>> chain = compile_graph((3,), [Node(Dense(3, 3), (0,)), Node(Add((3,)), (0, 1))])
        >>> [(layer.kind, layer.in_shape, layer.out_shape) for layer in chain]
        [('wire', (3,), (6,)), ('add', (6,), (3,))]
    """
    last_use: dict[int, int] = {}
    for number, node in enumerate(nodes, 1):
        for value in node.inputs:
            last_use[value] = number
    shapes: list[Shape] = [in_shape]
    live = [0]
    layers: list[Layer] = []
    for number, node in enumerate(nodes, 1):
        kept = [value for value in live if last_use.get(value, 0) > number]
        layers.append(_wired(node, live, kept, shapes))
        shapes.append(node.layer.out_shape)
        live = [*kept, number]
    return tuple(layers)


def _wired(node: Node, live: list[int], kept: list[int], shapes: list[Shape]) -> Layer:
    """The node's layer among the values that live below it."""
    if not kept and list(node.inputs) == live:
        return node.layer
    return Wire(
        node.layer,
        live=tuple(shapes[value] for value in live),
        reads=tuple(live.index(value) for value in node.inputs),
        keeps=tuple(live.index(value) for value in kept),
    )
