"""What a traced step costs: operations, bytes, and the memory it needs at once.

Counted from the graph, for the shapes it was traced with, so the same on every machine.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bioplaus.training.recording import RESULT


@dataclass(frozen=True)
class Operations:
    """Of one call of a program, all replicas together."""

    flops: int
    """Of its products, convolutions and factorisations; a multiply-add is two."""
    product_bytes: int
    """What these read and write, each operand once: the least that must be moved."""
    pointwise_bytes: int
    """What others read and write when each runs by itself; not those of operators of our own,
    which stay by themselves in compiled code."""
    peak_bytes: int
    """The most that its intermediate results and outputs hold at a time."""
    operations: int


def count(graph: GraphModule) -> Operations:
    """The cost of a graph made by `recording.record`."""
    flops = product_bytes = pointwise_bytes = operations = 0
    for node in graph.graph.nodes:
        if node.op != "call_function" or _is_view(node):
            continue
        operations += 1
        moved = _moved(node)
        work = _flops(node)
        if work:
            flops, product_bytes = flops + work, product_bytes + moved
        elif not _packet(node).startswith("bioplaus."):
            pointwise_bytes += moved
    return Operations(flops, product_bytes, pointwise_bytes, _peak(graph), operations)


@dataclass(frozen=True)
class Work:
    """What steps have taken so far, all replicas together; None where some were not traced."""

    flops: int | None = 0
    steps: int = 0
    peak_bytes: int | None = None
    """The most that any step held besides what lasts."""


@dataclass(frozen=True)
class Saving:
    """What compiling a graph for the CPU would save at each call, and what it costs."""

    seconds: float
    repaid_after: float


def dispatch_saving(graph: GraphModule) -> Saving:
    """An estimate that depends on the graph alone, so that a run's bits do not hang on time.

    Replaying costs some microseconds an operation and moves its operands through memory;
    compiled, most of that is gone. Measured on one x86-64 core: 4 us an operation, and
    12 GB/s copied. Compiling took 10, 26 and 56 s for 471, 1,067 and 2,259 operations, and some
    4 s more to load the compiler; the first time on a machine, which compiles torch's headers,
    another 10 s. A run need repay only half of it: the code is kept, and the next run has it for
    nothing.

    Time is no operation: a neuron's steps are one operator, which compiling does not touch. For
    backprop on digits-spiking, five seeds, this says 7.4 ms of a step, and 9.7 were measured.
    """
    cost = count(graph)
    seconds = 4e-6 * cost.operations + cost.pointwise_bytes / 12e9
    return Saving(seconds, 0.5 * (3.5 + 0.024 * cost.operations))


def _flops(node: Node) -> int:
    """Of a product, convolution or solution of linear systems; 0 for anything else."""
    packet = getattr(node.target, "overloadpacket", None)
    arguments = [_meta(a) for a in node.args]
    match _packet(node):
        case "bioplaus.solve":
            return _solve_flops(*(a.shape for a in arguments))
        case "bioplaus.product_in_full":
            a, b = (argument.shape for argument in arguments)
            return int(2 * a.numel() * b[-1])
        case "bioplaus.recur" | "bioplaus.recur_adjoint":
            return _recurrent_flops(arguments[0].shape)
    from torch.utils.flop_counter import flop_registry  # brings triton: a plan does without

    if packet not in flop_registry:
        return 0
    keywords = {name: _meta(a) for name, a in node.kwargs.items()}
    return int(flop_registry[packet](*arguments, **keywords, out_val=node.meta[RESULT]))


def _solve_flops(matrix: torch.Size, rhs: torch.Size) -> int:
    """LU and two triangular solutions of each system."""
    n, k, systems = matrix[-1], rhs[-1], matrix[:-2].numel()
    return int(systems * (2 * n**3 / 3 + 2 * n * n * k))


def _recurrent_flops(train: torch.Size) -> int:
    """Of a product with (n, n) weights between the steps of trains (..., N, T, n)."""
    steps, units = train[-2:]
    return int(2 * train.numel() // steps * (steps - 1) * units)


def _packet(node: Node) -> str:
    return str(getattr(node.target, "overloadpacket", ""))


def _meta(argument: object) -> Any:
    return argument.meta.get(RESULT) if isinstance(argument, Node) else argument


def _is_view(node: Node) -> bool:
    """Whether it only looks at a tensor, or takes one of several."""
    if node.target is operator.getitem:
        return True
    returns = getattr(getattr(node.target, "_schema", None), "returns", ())
    return bool(returns) and all(
        r.alias_info is not None and not r.alias_info.is_write for r in returns
    )


_TAKES_SOME = {"aten.index", "aten.index_select", "aten.gather", "aten.embedding"}
"""They read only as much of their first operand, of all the examples say, as they return."""


def _moved(node: Node) -> int:
    """Bytes that it reads and writes."""
    written, read = _bytes([node]), node.all_input_nodes
    if _packet(node) in _TAKES_SOME:
        return 2 * written + _bytes(read[1:])
    return written + _bytes(read)


def _bytes(nodes: Iterable[Node]) -> int:
    return sum(t.nbytes for node in nodes for t in _tensors(node))


def _tensors(node: Node) -> list[Tensor]:
    value = node.meta.get(RESULT)
    values = value if isinstance(value, (list, tuple)) else [value]
    return [v for v in values if isinstance(v, Tensor)]


def _peak(graph: GraphModule) -> int:
    """Results live from where they are made to their last use; a view keeps its base alive."""
    nodes = list(graph.graph.nodes)
    base: dict[Node, Node] = {}
    last: dict[Node, int] = {}
    for i, node in enumerate(nodes):
        view = node.op == "call_function" and _is_view(node)
        base[node] = base[node.all_input_nodes[0]] if view and node.all_input_nodes else node
        for used in node.all_input_nodes:
            last[base[used]] = i
    ends: dict[int, list[Node]] = {}
    for node, i in last.items():
        ends.setdefault(i, []).append(node)
    live = peak = 0
    for i, node in enumerate(nodes):
        if node.op == "call_function" and base[node] is node:
            live += _bytes([node])
        peak = max(peak, live)
        for gone in ends.get(i, []):
            live -= _bytes([gone]) if gone.op == "call_function" else 0
    return peak
