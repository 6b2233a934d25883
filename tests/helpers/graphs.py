"""Small graphs, and what they compute node by node, apart from the chain they are compiled to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Init, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.network.toml_nodes import INPUT
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.network_spec import NetworkSpec

__all__ = [
    "GRAPHS",
    "TIED",
    "Table",
    "evaluate",
    "graph_grads",
    "graph_params",
    "lstm",
    "named",
    "network",
    "rnn",
]

Table = dict[str, Any]


def dense(name: str, reads: str, units: int, activation: str = "tanh") -> Table:
    return {"name": name, "units": units, "activation": activation, "input": reads}


def node(kind: str, name: str, *reads: str, **settings: object) -> Table:
    return {"name": name, "type": kind, "inputs": list(reads), **settings}


GRAPHS: dict[str, tuple[list[Table], int]] = {
    "skip": (
        [
            dense("a", "x", 8),
            dense("b", "a", 8),
            node("add", "s", "a", "b"),
            node("concat", "k", "s", "a"),
            dense("c", "k", 7),
            node("concat", "m", "c", "x"),
            dense("o", "m", 5, "identity"),
        ],
        9,
    ),
    "gate": (
        [
            dense("i", "x", 7, "sigmoid"),
            dense("g", "x", 7),
            node("multiply", "c", "i", "g"),
            node("activation", "t", "c", activation="tanh"),
            dense("q", "x", 7, "sigmoid"),
            node("multiply", "h", "q", "t"),
            dense("o", "h", 4, "identity"),
        ],
        6,
    ),
    "parts": (
        [
            node("slice", "l", "x", start=0, stop=5),
            node("slice", "r", "x", start=3, stop=8),
            dense("a", "l", 6),
            dense("b", "r", 6, "sigmoid"),
            node("add", "s", "a", "b", "b", activation="tanh"),
            node("multiply", "z", "s", "s"),
            dense("o", "z", 4, "identity"),
        ],
        8,
    ),
}
"""Nodes, and the units of the input."""


def rnn(steps: int = 4, reads: int = 3, units: int = 6, outputs: int = 4) -> list[Table]:
    """h_t = tanh(W [x_t, h_{t-1}] + b), one cell at all steps but the first, which has no h_0."""
    tables: list[Table] = [node("slice", "x1", "x", start=0, stop=reads), dense("h1", "x1", units)]
    for t in range(2, steps + 1):
        stop = reads * t
        tables += [
            node("slice", f"x{t}", "x", start=stop - reads, stop=stop),
            node("concat", f"k{t}", f"x{t}", f"h{t - 1}"),
            dense(f"h{t}", f"k{t}", units) | ({"tie": "h2"} if t > 2 else {}),
        ]
    return [*tables, dense("o", f"h{steps}", outputs, "identity")]


GATES = {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "q": "sigmoid"}


def lstm(steps: int = 3, reads: int = 3, units: int = 5, outputs: int = 4) -> list[Table]:
    """c_t = f_t c_{t-1} + i_t g_t, h_t = q_t tanh(c_t); the first step reads x_1 alone, c_0 = 0."""
    tables: list[Table] = []
    for t in range(1, steps + 1):
        stop, first = reads * t, t == 1
        read = f"x{t}" if first else f"k{t}"
        tables.append(node("slice", f"x{t}", "x", start=stop - reads, stop=stop))
        if not first:
            tables.append(node("concat", f"k{t}", f"x{t}", f"h{t - 1}"))
        for gate, activation in GATES.items():
            if gate != "f" or not first:
                tie = {"tie": f"{gate}2"} if t > 2 else {}
                tables.append(dense(f"{gate}{t}", read, units, activation) | tie)
        cell = "c" if first else "n"
        tables.append(node("multiply", f"{cell}{t}", f"i{t}", f"g{t}"))
        if not first:
            tables.append(node("multiply", f"m{t}", f"f{t}", f"c{t - 1}"))
            tables.append(node("add", f"c{t}", f"m{t}", f"n{t}"))
        tables.append(node("activation", f"t{t}", f"c{t}", activation="tanh"))
        tables.append(node("multiply", f"h{t}", f"q{t}", f"t{t}"))
    return [*tables, dense("o", f"h{steps}", outputs, "identity")]


TIED: dict[str, tuple[list[Table], int]] = {"rnn": (rnn(), 12), "lstm": (lstm(), 9)}
"""Unrolled in time: nodes that share the weights of one."""


def network(name: str, loss: str = "cross_entropy") -> Network:
    """One of the graphs, as the chain that it is compiled to."""
    tables, units = (GRAPHS | TIED)[name]
    return named(tables, (units,), loss)


def named(tables: list[Table], in_shape: tuple[int, ...], loss: str = "cross_entropy") -> Network:
    """A network of these nodes."""
    spec = NetworkSpec.model_validate({"nodes": tables, "init": "xavier_normal", "gain": 1.3})
    return spec.build(in_shape, get_loss(loss), tables[-1]["units"])


def graph_params(net: Network, seed: int) -> Params:
    """Xavier weights of gain 1.3, and biases of standard deviation 0.1."""
    params = net.init(Stream(seed))
    assert net.initial == Init("xavier_normal", 1.3)
    return {
        name: 0.1 * Stream(seed).at("bias", name).normal(p.shape) if name.endswith("bias") else p
        for name, p in params.items()
    }


_ACTIVATIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "identity": lambda a: a}


def evaluate(tables: list[Table], params: Params, x: Tensor) -> dict[str, Tensor]:
    """Every node's value, by name; node k has the parameters "k.weight" and "k.bias"."""
    values = {INPUT: x}
    numbers = {table["name"]: number for number, table in enumerate(tables, 1)}
    for number, table in enumerate(tables, 1):
        if "tie" in table:
            number = numbers[table["tie"]]
        values[table["name"]] = one_node(table, number, params, values)
    return values


def one_node(table: Table, number: int, params: Params, values: Mapping[str, Tensor]) -> Tensor:
    reads = [table["input"]] if "input" in table else table["inputs"]
    below = [values[name] for name in reads]
    match table.get("type", "dense"):
        case "dense":
            a = F.linear(below[0], params[f"{number}.weight"], params.get(f"{number}.bias"))
        case "add":
            a = torch.stack(below).sum(0)
        case "multiply":
            a = below[0] * below[1]
        case "concat":
            a = torch.cat(below, dim=1)
        case "slice":
            a = below[0][:, table["start"] : table["stop"]]
        case "activation":
            a = below[0]
        case kind:
            raise AssertionError(kind)
    return _ACTIVATIONS[table.get("activation", "identity")](a)


def graph_grads(tables: list[Table], params: Params, batch: Batch, loss: str) -> Params:
    """Autograd through the graph itself, of the mean loss."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
    output = evaluate(tables, leaves, batch.x)[tables[-1]["name"]]
    value = get_loss(loss).value(output, batch.y)
    grads = torch.autograd.grad(value, list(leaves.values()))
    return dict(zip(leaves, grads, strict=True))
