"""What steps of networks in time cost, against counts by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from bioplaus.numerics.membrane import Membrane, fire, fire_adjoint
from bioplaus.numerics.recurrence import recur, recur_adjoint
from bioplaus.training.operation_count import Operations, count, dispatch_saving
from bioplaus.training.traced_step import trace

UNIT = Membrane(0.8, 1.0)


def test_compiling_saves_nothing_of_a_neurons_steps() -> None:
    """Its operator stays as it is; the spikes' double is what a compiler may fuse."""
    train = torch.ones(2, 7, 5)

    def function(a: Tensor) -> list[Tensor]:
        u, s = fire(a, UNIT)
        return [2 * s, fire_adjoint(a, a, u, s, UNIT)]

    graph, _ = trace(lambda a: (function(a), ()), [train])
    found = count(graph)
    assert found.operations == 3
    assert found.pointwise_bytes == 4 * 2 * 70
    assert dispatch_saving(graph).seconds == 4e-6 * 3 + 4 * 140 / 12e9


def recurrent(train: Tensor, weight: Tensor) -> Operations:
    def function(a: Tensor, v: Tensor) -> list[Tensor]:
        _, u, s = recur(a, v, UNIT)
        return [recur_adjoint(a, v, u, u, s, UNIT)]

    graph, _ = trace(lambda a, v: (function(a, v), ()), [train, weight])
    return count(graph)


def test_recurrent_products_are_counted_between_steps_there_and_back() -> None:
    assert recurrent(torch.ones(2, 7, 5), torch.ones(5, 5)).flops == 2 * 2 * (2 * 6 * 5 * 5)
    stacked = recurrent(torch.ones(3, 2, 7, 5), torch.ones(3, 5, 5))
    assert stacked.flops == 3 * 2 * 2 * (2 * 6 * 5 * 5)
