"""Where a task holds nothing out, a probe's L2 is not chosen on what the probe was fitted to."""

from __future__ import annotations

import torch

from bioplaus.axes.representation import _apart, probe
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.dataset import Split


def test_a_fifth_of_training_is_held_out() -> None:
    train = Split(torch.arange(50.0)[:, None], torch.arange(50))
    fitted, chosen = _apart(train, None)
    assert len(fitted) == 40 and len(chosen) == 10
    assert sorted([*fitted.y.tolist(), *chosen.y.tolist()]) == list(range(50))
    assert _apart(train, chosen) == (train, chosen)


def test_a_single_example_is_fitted_and_nothing_chosen() -> None:
    train = Split(torch.ones(1, 3), torch.tensor([2]))
    fitted, chosen = _apart(train, None)
    assert fitted.y.tolist() == [2] and len(chosen) == 0
    pair = Split(torch.ones(2, 3), torch.tensor([0, 1]))
    assert [len(part) for part in _apart(pair, None)] == [1, 1]


def test_a_probe_that_saw_one_class_answers_it() -> None:
    on = [torch.ones(1, 3), torch.zeros(0, 3), torch.arange(12.0).reshape(4, 3)]
    labels = [torch.tensor([2]), torch.tensor([], dtype=torch.int64), torch.tensor([2, 0, 2, 1])]
    assert probe(on, labels, (1e-3, 1e-1)) == 0.5


def test_without_examples_to_choose_by_the_strongest_penalty_counts() -> None:
    x = Stream(0).normal((60, 4))
    y = (x[:, 0] + 2 * Stream(1).normal((60,)) > 0).long()
    on, labels = [x[:30], x[:0], x[30:]], [y[:30], y[:0], y[30:]]
    strong, weak = probe(on, labels, (10.0,)), probe(on, labels, (1e-4,))
    assert strong != weak
    assert probe(on, labels, (1e-4, 10.0)) == strong
