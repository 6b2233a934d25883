"""What a recorded graph does twice or for nothing, left out, without a change of any bit.

vmap and loops write the same line many times: a product with weights that stand still, a bias
times 1, the counters of random numbers. A compiler finds most of that; who replays the graph as
it stands, operation by operation or as a CUDA graph, pays for each.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Hashable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bioplaus.training.recording import RESULT, without_numbers

_MOST_BYTES = 2**22
"""Of a result that is computed once and kept: another is not worth its memory."""
_HIDDEN_VIEWS = {torch.ops.aten._unsafe_view.default}
"""Views that do not say so."""

Bases = frozenset[Node]
"""What made the memory that a node's result lies in."""


def simplified(written: GraphModule) -> GraphModule:
    """The same with constants computed once, equal operations done once, factors of 1 left out.

    written: made by `recording.record`; it does not change. What an operation in place touches
    stays as it is, and so does what the graph returns: no two results share memory that did not.
    """
    graph = GraphModule(written, copy.deepcopy(written.graph))
    bases = _bases(graph)
    touched = {
        base
        for node in graph.graph.nodes
        for argument in _written(node)
        for base in bases[argument]
    }
    results = next(reversed(graph.graph.nodes)).all_input_nodes
    returned = frozenset(base for node in results for base in bases[node])
    constants: dict[Node, Tensor] = {
        node: getattr(graph, str(node.target))
        for node in graph.graph.nodes
        if node.op == "get_attr" and node not in touched
    }
    done: dict[Hashable, Node] = {}
    for node in graph.graph.nodes:
        near = bases[node].union(*(bases[n] for n in node.all_input_nodes))
        if node.op != "call_function" or near & touched or _is_drawn(node):
            continue
        key = _key(node)
        if bases[node] & returned:
            done.setdefault(key, node)
            continue
        if key not in done:
            done[key] = _standing_for(node, graph, constants)
            bases.setdefault(done[key], frozenset((done[key],)))
        if done[key] is not node:
            node.replace_all_uses_with(done[key])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _standing_for(node: Node, graph: GraphModule, constants: dict[Node, Tensor]) -> Node:
    """What may stand in an operation's place: a number kept, what it multiplies by 1, or itself."""
    if _is_product_with_one(node):
        return node.all_input_nodes[0]
    if not all(n in constants for n in node.all_input_nodes):
        return node
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: constants[n])
    assert callable(node.target)
    value = node.target(*args, **kwargs)
    if not isinstance(value, Tensor) or value.untyped_storage().nbytes() > _MOST_BYTES:
        return node
    name = f"folded_{len(graph._buffers)}"
    graph.register_buffer(name, value)
    with graph.graph.inserting_before(node):
        kept = graph.graph.get_attr(name)
    kept.meta[RESULT] = without_numbers(value)
    constants[kept] = value
    return kept


def _bases(graph: GraphModule) -> dict[Node, Bases]:
    bases: dict[Node, Bases] = {}
    for node in graph.graph.nodes:
        inside = [bases[n] for n in node.all_input_nodes] if _shares(node) else []
        bases[node] = frozenset().union(*inside) or frozenset((node,))
    return bases


def _shares(node: Node) -> bool:
    """Whether its result may lie in an argument's memory."""
    if node.target is operator.getitem or node.target in _HIDDEN_VIEWS:
        return True
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(r.alias_info is not None for r in schema.returns)


def _written(node: Node) -> Iterator[Node]:
    """The arguments that it writes to."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return
    for i, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name)
            yield from (n for n in _each(given) if isinstance(n, Node))


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _each(part)
    else:
        yield value


def _is_drawn(node: Node) -> bool:
    """Whether it gives other numbers each time."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _is_product_with_one(node: Node) -> bool:
    if node.target not in (torch.ops.aten.mul.Scalar, torch.ops.aten.mul.Tensor):
        return False
    factor, given = node.args[1], node.all_input_nodes
    if isinstance(factor, Node) or factor != 1 or len(given) != 1:
        return False
    return bool(node.meta[RESULT].dtype == given[0].meta[RESULT].dtype)


def _key(node: Node) -> Hashable:
    """Equal for operations that give the same; 1, 1.0 and True are three arguments."""
    return node.target, _hashable(node.args), _hashable(node.kwargs)


def _hashable(value: Any) -> Hashable:
    if isinstance(value, Node):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(_hashable(part) for part in value)
    if isinstance(value, dict):
        return tuple((name, _hashable(part)) for name, part in value.items())
    return type(value), repr(value)
