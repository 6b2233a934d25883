"""Sparse attacks against what a linear classifier allows, by brute force, and by their rules."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from bioplaus.axes.sparse_attacks import Margin, _distinct, _share, greedy, margins, sparse_rs
from bioplaus.numerics.random_streams import Stream

SEEDS = range(10)


def linear(seed: int, d: int = 9, n: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """W (2, d), examples on (0, 1) and the classes that the classifier gives them."""
    stream = Stream(seed).at("linear")
    weight = stream.at("weight").normal((2, d))
    x = stream.at("x").uniform((n, d))
    return weight, x, (x @ weight.T).argmax(1)


def network(seed: int, d: int = 12, classes: int = 4) -> tuple[Margin, Tensor, Tensor]:
    stream = Stream(seed).at("network")
    first, second = stream.at(1).normal((16, d)), stream.at(2).normal((classes, 16))

    def margin(x: Tensor, y: Tensor) -> Tensor:
        return margins(torch.tanh(x @ first.T) @ second.T, y)

    x = stream.at("x").uniform((20, d))
    return margin, x, (torch.tanh(x @ first.T) @ second.T).argmax(1)


def test_a_margin_is_the_class_minus_the_best_of_the_others() -> None:
    outputs = torch.tensor([[1.0, 3.0, 2.5], [1.0, 3.0, 2.5]])
    assert margins(outputs, torch.tensor([1, 0])).tolist() == [0.5, -2.0]


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_is_exact_for_a_linear_classifier(seed: int) -> None:
    """T-L0-1: every subset of three inputs, and every corner of them, by brute force."""
    weight, x, y = linear(seed)
    d, k = x.shape[1], 3

    def margin(a: Tensor, b: Tensor) -> Tensor:
        return margins(a @ weight.T, b)

    best = margin(x, y)
    for places in itertools.combinations(range(d), k):
        for corner in itertools.product([0.0, 1.0], repeat=k):
            changed = x.clone()
            changed[:, list(places)] = torch.tensor(corner, dtype=x.dtype)
            best = torch.minimum(best, margin(changed, y))
    curve, _ = greedy(margin, x, y, k, (0.0, 1.0), candidates=d)
    assert torch.equal(curve[-1] <= 0, best <= 0)
    unfooled = best > 0
    torch.testing.assert_close(curve[-1][unfooled], best[unfooled], rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_keeps_its_budget_and_says_what_it_did(seed: int) -> None:
    """T-L0-2."""
    margin, x, y = network(seed)
    values = (0.0, 0.3, 1.0)
    for k in (1, 3, 5):
        curve, attacked = greedy(margin, x, y, k, values)
        changed = attacked != x
        assert int(changed.sum(1).max()) <= k
        assert set(attacked[changed].tolist()) <= set(values)
        assert bool((curve[1:] <= curve[:-1]).all())
        torch.testing.assert_close(curve[-1], margin(attacked, y), rtol=0, atol=1e-13)
        fallen = curve[:-1] <= 0  # what has fallen is left as it is
        assert torch.equal(curve[1:][fallen], curve[:-1][fallen])


def test_greedy_runs_are_nested() -> None:
    margin, x, y = network(0)
    long, _ = greedy(margin, x, y, 5, (0.0, 1.0))
    short, _ = greedy(margin, x, y, 2, (0.0, 1.0))
    assert torch.equal(long[:3], short)


def test_more_changes_than_inputs_are_no_more() -> None:
    weight, x, y = linear(0, d=2)
    curve, attacked = greedy(lambda a, b: margins(a @ weight.T, b), x, y, 5, (0.0, 1.0))
    assert curve.shape == (6, len(x)) and attacked.shape == x.shape
    assert torch.equal(curve[2], curve[5])


def test_an_answer_without_a_gradient_is_told() -> None:
    _, x, y = linear(0)
    with pytest.raises(RuntimeError, match="does not require grad"):
        greedy(lambda a, b: (a.detach() > 0.5).double().sum(1), x, y, 1, (0.0, 1.0))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_random_search_keeps_its_budget_and_never_gets_worse(seed: int) -> None:
    margin, x, y = network(seed)
    start, _ = sparse_rs(margin, x, y, 3, (0.0, 1.0), 1, Stream(seed))
    for queries in (1, 30, 100):
        found, attacked = sparse_rs(margin, x, y, 3, (0.0, 1.0), queries, Stream(seed))
        changed = attacked != x
        assert int(changed.sum(1).max()) <= 3
        assert set(attacked[changed].tolist()) <= {0.0, 1.0}
        torch.testing.assert_close(found, margin(attacked, y), rtol=0, atol=1e-13)
        assert bool((found <= start).all())


def test_with_one_change_the_search_finds_what_brute_force_finds() -> None:
    """Of nine inputs with two ends there are eighteen tries; three hundred miss none."""
    for seed in SEEDS:
        weight, x, y = linear(seed)

        def margin(a: Tensor, b: Tensor, weight: Tensor = weight) -> Tensor:
            return margins(a @ weight.T, b)

        tries = []
        for place, end in itertools.product(range(9), (0.0, 1.0)):
            changed = x.clone()
            changed[:, place] = end
            tries.append(margin(changed, y))
        lowest = torch.stack(tries).amin(0)
        found, _ = sparse_rs(margin, x, y, 1, (0.0, 1.0), 300, Stream(seed))
        assert torch.equal(found <= 0, lowest <= 0)
        torch.testing.assert_close(found[lowest > 0], lowest[lowest > 0], rtol=0, atol=1e-12)


def test_the_search_moves_all_inputs_where_there_are_no_others() -> None:
    weight, x, y = linear(1, d=3)
    found, attacked = sparse_rs(
        lambda a, b: margins(a @ weight.T, b), x, y, 8, (0.0, 1.0), 200, Stream(0)
    )
    corners = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=x.dtype)
    for i in range(len(x)):  # all three are set to an end: the eight corners are all there is
        all_of_them = margins(corners @ weight.T, y[i].expand(len(corners)))
        assert bool(found[i] <= 0) == bool(all_of_them.min() <= 0)
    assert set(attacked.flatten().tolist()) <= {0.0, 1.0}


def test_the_published_schedule() -> None:
    """Croce et al. 2022, of 10,000 queries; rescaled to other budgets."""
    due = {0: 1, 1: 2, 50: 2, 51: 4, 200: 4, 201: 5, 500: 5, 501: 6, 1000: 6, 1001: 8, 2000: 8,
           2001: 10, 4000: 10, 4001: 12, 6000: 12, 6001: 15, 8000: 15, 8001: 20}  # fmt: skip
    for query, part in due.items():
        assert _share(query, 10_000) == pytest.approx(0.8 / part), query
    assert _share(150, 300) == pytest.approx(0.8 / 12)


def test_places_are_distinct_and_uniform() -> None:
    taken = torch.tensor([[2, 5]]).expand(60_000, 2)
    uniform = Stream(0).uniform((60_000, 3))
    found = _distinct(uniform, taken, 8)
    assert all(len({*row, 2, 5}) == 5 for row in found[:500].tolist())
    for column in found.unbind(1):
        counts = torch.bincount(column, minlength=8).double()
        assert counts[2] == counts[5] == 0
        free = counts[[0, 1, 3, 4, 6, 7]]
        # 10,000 each: chi-squared of 5 degrees of freedom is below 25.7 but once in 10^4
        assert float(((free - 10_000) ** 2 / 10_000).sum()) < 25.7
