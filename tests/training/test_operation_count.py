"""Costs counted from a trace, against counts by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bioplaus.numerics.linalg import solve
from bioplaus.training.operation_count import Operations, count
from bioplaus.training.traced_step import trace


def cost(function: Callable[..., list[Tensor]], *tensors: Tensor) -> Operations:
    graph, _ = trace(lambda *given: (function(*given), ()), tensors)
    return count(graph)


def test_a_product_costs_two_operations_a_multiply_add_and_its_three_matrices() -> None:
    found = cost(lambda a, b: [a @ b], torch.ones(3, 4), torch.ones(4, 5))
    assert found.flops == 2 * 3 * 4 * 5
    assert found.product_bytes == 4 * (12 + 20 + 15)
    assert (found.pointwise_bytes, found.operations, found.peak_bytes) == (0, 1, 4 * 15)


def test_views_cost_nothing() -> None:
    found = cost(lambda a: [(a.T @ a)[:1].reshape(-1)], torch.ones(3, 4))
    assert found.flops == 2 * 4 * 3 * 4
    assert found.product_bytes == 4 * (12 + 12 + 16)
    assert found.operations == 1


def test_stacked_products_count_for_each_replica() -> None:
    found = cost(lambda a, b: [torch.bmm(a, b)], torch.ones(7, 3, 4), torch.ones(7, 4, 5))
    assert found.flops == 7 * 2 * 3 * 4 * 5


def test_elementwise_operations_move_their_operands_and_result() -> None:
    found = cost(lambda a, b: [torch.tanh(a + b)], torch.ones(10), torch.ones(10))
    assert found.flops == 0
    assert found.pointwise_bytes == 4 * (30 + 20)
    assert found.operations == 2


def test_a_batch_is_read_and_not_all_the_examples_that_it_is_taken_from() -> None:
    found = cost(lambda a, i: [a[i]], torch.ones(60_000, 10), torch.arange(5))
    assert found.pointwise_bytes == 4 * (50 + 50) + 8 * 5
    rows = cost(lambda a, i: [a.gather(1, i)], torch.ones(60_000, 10), torch.ones(5, 2).long())
    assert rows.pointwise_bytes == (4 + 4 + 8) * 10


def test_the_peak_is_what_is_alive_at_once() -> None:
    """a + 1 and its double are alive together, then the double and its result."""
    found = cost(lambda a: [((a + 1) * 2).exp()], torch.ones(100))
    assert found.peak_bytes == 2 * 400


def test_a_view_keeps_what_it_looks_at_alive() -> None:
    def function(a: Tensor) -> list[Tensor]:
        view = (a + 1)[:1]
        other = (a * 2).sum()
        return [view + other]

    # a + 1 through its view, beside a * 2, and then the sum
    assert cost(function, torch.ones(100)).peak_bytes == 400 + 400 + 4


def test_solving_counts_as_lu_and_two_triangular_solutions() -> None:
    found = cost(lambda a, b: [solve(a, b)], torch.eye(6), torch.ones(6, 2))
    assert found.flops == pytest.approx(2 * 6**3 / 3 + 2 * 6 * 6 * 2, abs=1)


def test_convolutions_are_counted() -> None:
    def convolve(x: Tensor, w: Tensor) -> list[Tensor]:
        return [torch.conv2d(x, w)]

    found = cost(convolve, torch.ones(2, 3, 5, 5), torch.ones(4, 3, 3, 3))
    assert found.flops == 2 * (2 * 4 * 3 * 3) * (3 * 3 * 3)
