"""Whether the nodes of a task file are a graph, and the chain that it is compiled to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

from bioplaus.errors import ConfigError, closest
from bioplaus.network.graph import Node, compile_graph
from bioplaus.network.layer import Layer, Shape
from bioplaus.network.toml_nodes import INPUT, NodeSpec
from bioplaus.network.toml_tables import Spec


def check_nodes(nodes: Sequence[NodeSpec]) -> None:
    """ConfigError, naming the node, unless each reads what stands before it, and is read."""
    places = {INPUT: -1}
    for place, node in enumerate(nodes):
        if node.name == INPUT:
            raise ConfigError("a node is called x, which is the network's input: rename it")
        if node.name in places:
            raise ConfigError(f"two nodes are called {node.name}: rename one")
        places[node.name] = place
    reads = {node.name: node.inputs for node in nodes}
    for place, node in enumerate(nodes):
        for name in node.inputs:
            if name not in places:
                hint = closest(name, places)
                raise ConfigError(f"node {node.name} reads {name}, and no node has that name{hint}")
            if places[name] >= place:
                raise ConfigError(_too_early(node.name, name, reads))
        if node.tie is not None:
            _check_tie(node, {other.name: other for other in nodes[:place]})
    used = {name for node in nodes for name in node.inputs}
    for node in nodes[:-1]:
        if node.name not in used:
            raise ConfigError(
                f"no node reads {node.name}, and it is not the last, which is the output: leave "
                "it out, or read it"
            )


def _check_tie(node: NodeSpec, before: dict[str, NodeSpec]) -> None:
    leader = before.get(node.tie or "")
    if leader is None:
        hint = closest(node.tie or "", before)
        raise ConfigError(f"node {node.name} is tied to {node.tie}, no node before it{hint}")
    if leader.tie is not None:
        raise ConfigError(
            f"node {node.name} is tied to {leader.name}, which is tied itself: write "
            f'tie = "{leader.tie}"'
        )


def _too_early(node: str, read: str, reads: dict[str, tuple[str, ...]]) -> str:
    """What is wrong where a node reads one that is not before it."""
    if node == read:
        return f"node {node} reads itself: a graph has no circles"
    above, found = [read], {read}
    while above:
        fresh = {name for name in reads.get(above.pop(), ()) if name not in found}
        found |= fresh
        above += fresh
    if node in found:
        return f"node {node} reads {read}, which reads {node} in turn: a graph has no circles"
    return (
        f"node {node} reads {read}, which comes after it: nodes stand in the order in which they "
        "are computed"
    )


class Graph(NamedTuple):
    """The chain of a graph, and which of its layers share weights."""

    layers: tuple[Layer, ...]
    leaders: tuple[int, ...]
    """As a `Network`'s."""


def build_nodes(nodes: Sequence[NodeSpec], in_shape: Shape) -> Graph:
    """The graph as a chain; ConfigError naming the node that does not fit.

    Images reach the first node that reads them as a vector, if it is a layer of vectors.
    """
    first = next(node.layer for node in nodes if INPUT in node.inputs)
    flat = isinstance(first, Spec) and first.reads_vectors
    shape = (prod(in_shape),) if flat else in_shape
    shapes: dict[str, Shape] = {INPUT: shape}
    places: dict[str, int] = {INPUT: 0}
    graph: list[Node] = []
    leaders: list[int] = []
    for node in nodes:
        try:
            layer = node.build([shapes[name] for name in node.inputs])
            leader = len(graph) if node.tie is None else places[node.tie] - 1
            if leader < len(graph):
                _check_alike(layer, graph[leader].layer, node.tie)
        except ConfigError as error:
            raise ConfigError(f"node {node.name} ({node.layer.type}): {error}") from None
        graph.append(Node(layer, tuple(places[name] for name in node.inputs)))
        leaders.append(leader)
        shapes[node.name], places[node.name] = layer.out_shape, len(graph)
    tied = any(leader < l for l, leader in enumerate(leaders))
    return Graph(compile_graph(shape, graph), tuple(leaders) if tied else ())


def _check_alike(layer: Layer, leader: Layer, name: str | None) -> None:
    """ConfigError unless both have the same weights, under whatever activation."""
    if leader.multiply_adds() == 0:
        raise ConfigError(f"it is tied to {name}, which has no weights")
    if replace(layer, activation=leader.activation) != leader:  # type: ignore[type-var]
        raise ConfigError(
            f"it is tied to {name}, and is not alike: that reads {leader.in_shape} and gives "
            f"{leader.out_shape}, this reads {layer.in_shape} and gives {layer.out_shape}; type, "
            "settings and bias must be the same"
        )
