"""Predictive coding on the graph itself, one node a vertex and none on the way past it.

Millidge, Tschantz and Buckley (arXiv:2006.04182) relax on the graph as it is. There, paths of
different length from a node to the output bring their errors at different times: the direction is
backprop's only as steps grow, and learning timed by distance (Z-IL) is not backprop at all. The
chain that graphs are compiled to has relays, and with them both are exact (tests of T-DAG-2).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from math import comb

import pytest
import torch
from torch import Tensor

from bioplaus.learning.rule import Batch
from bioplaus.network.layer import Params
from bioplaus.network.toml_nodes import INPUT
from tests.helpers.graphs import GRAPHS, evaluate, graph_params, network, one_node
from tests.helpers.networks import every_seed, random_batch, rel

STEPS, ETA = 9, 0.3


class Bare:
    """A graph with its values of one forward pass, and the Jacobians between neighbours."""

    def __init__(self, name: str, seed: int) -> None:
        self.tables, self.net = GRAPHS[name][0], network(name)
        self.params: Params = graph_params(self.net, seed)
        self.batch: Batch = random_batch(self.net, 6, seed)
        self.values = evaluate(self.tables, self.params, self.batch.x)
        self.error = self.net.loss.error(self.values["o"], self.batch.y)

    def bring_down(
        self, number: int, error: Tensor, values: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """J^T error at each input of node `number`, linearised at these values."""
        table = self.tables[number - 1]
        values = self.values if values is None else values
        names = dict.fromkeys([table["input"]] if "input" in table else table["inputs"])
        leaves = {name: values[name].clone().requires_grad_() for name in names}
        value = one_node(table, number, self.params, values | leaves)
        below = torch.autograd.grad(value, list(leaves.values()), error)
        return dict(zip(leaves, below, strict=True))

    def pulled(
        self, errors: dict[str, Tensor], values: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """At every node, the sum of what its readers bring down."""
        sums = {
            table["name"]: torch.zeros_like(self.values[table["name"]]) for table in self.tables
        }
        for number, table in enumerate(self.tables, 1):
            for below, error in self.bring_down(number, errors[table["name"]], values).items():
                if below != INPUT:
                    sums[below] = sums[below] + error
        return sums

    def true_errors(self) -> dict[str, Tensor]:
        """dloss/dvalue of every node, each example's own, by autograd."""
        shifts = {t["name"]: torch.zeros_like(self.values[t["name"]]) for t in self.tables}
        leaves = {name: shift.requires_grad_() for name, shift in shifts.items()}
        values = {INPUT: self.batch.x}
        for number, table in enumerate(self.tables, 1):
            own = one_node(table, number, self.params, values)
            values[table["name"]] = own + leaves[table["name"]]
        total = self.net.loss.value(values["o"], self.batch.y) * len(self.batch.x)
        return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))

    def by_length(self) -> dict[str, dict[int, Tensor]]:
        """At every node, the error that comes down along all paths of each length."""
        found: dict[str, dict[int, Tensor]] = defaultdict(dict)
        found["o"][0] = self.error
        for number in range(len(self.tables), 0, -1):
            for length, error in found[self.tables[number - 1]["name"]].items():
                for below, part in self.bring_down(number, error).items():
                    so_far = found[below].get(length + 1, 0)
                    found[below][length + 1] = so_far + part
        return found

    def relaxed(self, steps: int, eta: float) -> dict[str, Tensor]:
        """Predictions fixed at the forward pass; errors move together, from 0."""
        q = {t["name"]: torch.zeros_like(self.values[t["name"]]) for t in self.tables}
        q["o"] = self.error
        for _ in range(steps):
            pull = self.pulled(q)
            q = {name: e if name == "o" else e + eta * (pull[name] - e) for name, e in q.items()}
        return q


every_graph = pytest.mark.parametrize("name", GRAPHS)


@every_seed
@every_graph
def test_t_dag_3_accumulated_adjoints_are_autograd(name: str, seed: int) -> None:
    bare = Bare(name, seed)
    due, found = bare.true_errors(), bare.by_length()
    for node, error in due.items():
        parts = list(found[node].values())
        assert rel(torch.stack(parts).sum(0), error) <= 1e-12


def arrived(length: int) -> float:
    """P[Bin(STEPS, ETA) >= length]."""
    return sum(comb(STEPS, k) * ETA**k * (1 - ETA) ** (STEPS - k) for k in range(length, STEPS + 1))


@every_seed
@every_graph
def test_t_dag_4_each_path_has_come_down_as_far_as_its_length_allows(name: str, seed: int) -> None:
    bare = Bare(name, seed)
    parts, q = bare.by_length(), bare.relaxed(STEPS, ETA)
    for node in q:
        due = [arrived(length) * error for length, error in parts[node].items()]
        assert rel(q[node], torch.stack(due).sum(0)) <= 1e-12


@every_seed
@pytest.mark.parametrize(("name", "differs"), [("skip", True), ("parts", False)])
def test_t_dag_5_the_direction_is_not_backprops_where_paths_differ(
    name: str, differs: bool, seed: int
) -> None:
    bare = Bare(name, seed)
    q, due = bare.relaxed(STEPS, ETA), bare.true_errors()
    worst = max(1 - float(torch.cosine_similarity(q[n].flatten(), due[n].flatten(), 0)) for n in q)
    assert (worst > 1e-3) == differs
    for node, error in bare.relaxed(200, ETA).items():  # both have the same fixed point
        assert rel(error, due[node]) <= 1e-12


@every_seed
@pytest.mark.parametrize("when", [min, max])
def test_t_dag_5_learning_timed_by_distance_is_not_backprop(
    when: Callable[[Iterable[int]], int], seed: int
) -> None:
    """Steps of size 1 from the forward pass; a node learns when its first, or last, error comes."""
    bare = Bare("skip", seed)
    due = bare.true_errors()
    times = {name: when(lengths) for name, lengths in bare.by_length().items()}
    values, wrong = dict(bare.values), 0.0
    for t in range(max(times.values()) + 1):
        predicted = {INPUT: bare.batch.x}
        for number, table in enumerate(bare.tables, 1):
            predicted[table["name"]] = one_node(table, number, bare.params, values)
        q = {t["name"]: predicted[t["name"]] - values[t["name"]] for t in bare.tables}
        q["o"] = bare.net.loss.error(predicted["o"], bare.batch.y)
        wrong = max([wrong, *(rel(q[n], due[n]) for n in due if times[n] == t)])
        pull = bare.pulled(q, values)
        for node in due:
            if node != "o":
                values[node] = predicted[node] - pull[node]
    assert wrong > 0.1
