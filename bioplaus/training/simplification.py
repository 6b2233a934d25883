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
from torch.fx import Graph, GraphModule, Node

from bioplaus.training.recording import RESULT, SHARES, without_numbers

_MOST_BYTES = 2**25
"""Of all results that are computed once; what is more is computed at each call."""
Bases = frozenset[Node]
"""What made the memory that a node's result lies in."""


def simplified(written: GraphModule) -> GraphModule:
    """The same with constants computed once, equal operations done once, factors of 1 left out.

    written: made by `recording.record`; it does not change. What an operation in place touches
    stays as it is, and so does what the graph returns: no two results share memory that did not.
    """
    graph = copy.deepcopy(written.graph)
    bases = _bases(graph)
    touched = {base for node in graph.nodes for n in _written(node) for base in bases[n]}
    results = graph.output_node().all_input_nodes
    returned = frozenset(base for node in results for base in bases[node])
    constants = _Constants(written, graph)
    done: dict[Hashable, Node] = {}
    for node in graph.nodes:
        if node.op != "call_function" or _is_drawn(node) or _is_near(node, touched, bases):
            continue
        key = _key(node)
        if bases[node] & returned:
            done.setdefault(key, node)
            continue
        if key not in done:
            one = node.all_input_nodes[0] if _is_product_with_one(node) else None
            done[key] = one or constants.kept(node) or node
            bases.setdefault(done[key], frozenset((done[key],)))
        if done[key] is not node:
            node.replace_all_uses_with(done[key])
    graph.eliminate_dead_code()
    return GraphModule(constants.tensors, graph)  # which takes those that are used


class _Constants:
    """Results that hang on nothing, as tensors of the graph.

    A tensor from outside is none: whoever holds it may change it. A number that was written
    in the code is, which `lift_fresh_copy` makes.
    """

    def __init__(self, written: GraphModule, graph: Graph) -> None:
        """graph: a copy of the written one, where they are put."""
        self.tensors = torch.nn.Module()
        """Those, and the graph's own."""
        for name, tensor in written.named_buffers():
            self.tensors.register_buffer(name, tensor)
        self._graph = graph
        self._values: dict[Node, Tensor] = {}
        self._bytes = 0

    def kept(self, node: Node) -> Node | None:
        """What stands for an operation on nothing but constants; None for another."""
        literal = node.target is torch.ops.aten.lift_fresh_copy.default
        if not literal and not all(n in self._values for n in node.all_input_nodes):
            return None
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), self._value)
        assert callable(node.target)
        value = node.target(*args, **kwargs)
        if not isinstance(value, Tensor):
            return None
        self._bytes += value.untyped_storage().nbytes()
        if self._bytes > _MOST_BYTES:
            return None
        name = f"kept_{len(self._values)}"
        self.tensors.register_buffer(name, value)
        with self._graph.inserting_before(node):
            kept = self._graph.get_attr(name)
        kept.meta[RESULT] = without_numbers(value)
        self._values[kept] = value
        return kept

    def _value(self, node: Node) -> Tensor:
        if node in self._values:
            return self._values[node]
        own: Tensor = self.tensors.get_buffer(str(node.target))
        return own


def _bases(graph: Graph) -> dict[Node, Bases]:
    bases: dict[Node, Bases] = {}
    for node in graph.nodes:
        inside = [bases[n] for n in node.all_input_nodes] if _shares(node) else []
        bases[node] = frozenset().union(*inside) or frozenset((node,))
    return bases


def _shares(node: Node) -> bool:
    """Whether its result may lie in an argument's memory."""
    if node.target is operator.getitem or node.meta.get(SHARES):
        return True
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(r.alias_info is not None for r in schema.returns)


def _written(node: Node) -> Iterator[Node]:
    """The arguments that it writes to."""
    if node.target is torch.ops.aten.native_batch_norm.default:  # running statistics, unsaid
        yield from (n for n in node.args[3:5] if isinstance(n, Node))
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return
    for i, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name)
            yield from (n for n in _each(given) if isinstance(n, Node))


def _is_near(node: Node, touched: set[Node], bases: dict[Node, Bases]) -> bool:
    """Whether it reads or gives what some operation writes to."""
    if not touched:
        return False
    return any(touched & bases[n] for n in (node, *node.all_input_nodes))


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
    result, other = node.meta[RESULT], given[0].meta[RESULT]
    alike = result.dtype == other.dtype and result.stride() == other.stride()
    # (inf + i) * 1 is NaN
    return bool(alike and not result.dtype.is_complex)


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
