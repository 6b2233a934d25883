"""Readers of embeddings: each is what it says, and none sees the test split before the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bioplaus.numerics.random_streams import Stream
from bioplaus.training import probe
from bioplaus.training.probe import Embedded, embedded


def blobs(count: int, name: str, spread: float = 1.0, classes: int = 4) -> Embedded:
    centres = 2 * Stream(0).at("centres").normal((classes, 6))
    y = torch.arange(count) % classes
    return embedded(centres[y] + spread * Stream(0).at(name).normal((count, 6)), y)


def splits() -> dict[str, Embedded]:
    sizes = {"train": 400, "validation": 80, "test": 100}
    return {name: blobs(count, name, 2.0) for name, count in sizes.items()}


def test_what_is_separable_is_read_without_error() -> None:
    far = {name: blobs(n, name, 0.01) for name, n in (("train", 60), ("test", 40))}
    found = probe.readings(far)
    assert found == {"test_accuracy": 1.0, "test_probe_few": 1.0, "test_probe_neighbours": 1.0}


def test_the_logistic_reader_is_the_minimum_of_its_objective() -> None:
    """Against torch's own minimiser, which knows nothing of scikit-learn's."""
    data = probe.standardised(splits())
    x, y = torch.tensor(data["train"].x), torch.tensor(data["train"].y)
    weight = torch.zeros(4, 6, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=500, tolerance_grad=1e-12,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weight.T + bias, y)
        loss = loss + 1e-2 / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)
    test = data["test"]
    answers = (torch.tensor(test.x) @ weight.T + bias).argmax(1).numpy()
    due = float(np.mean(answers == test.y))
    only = {name: data[name] for name in ("train", "test")}
    found = probe.logistic(only, (1e-1, 1e-2))
    assert 0.5 < due < 1 and found["test"] == pytest.approx(due, abs=0.011), "at most one apart"


def test_the_penalty_is_chosen_without_the_test_split() -> None:
    own = splits()
    turned = {**own, "test": Embedded(own["test"].x, (own["test"].y + 1) % 4)}
    first, second = probe.readings(own), probe.readings(turned)
    kept = [name for name in first if name.startswith("validation")]
    assert kept and all(first[name] == second[name] for name in kept)
    assert second["test_accuracy"] < 0.4


def test_few_labels_are_so_many_of_each_class_and_fixed() -> None:
    labels = Stream(0).at("labels").permutation(300).numpy() % 3
    draws = [probe.few_examples(labels, draw) for draw in range(probe.FEW_DRAWS)]
    for index in draws:
        assert np.bincount(labels[index]).tolist() == [probe.FEW] * 3
    assert np.array_equal(draws[0], probe.few_examples(labels, 0))
    assert not np.array_equal(draws[0], draws[1])


def test_neighbours_by_brute_force() -> None:
    own = splits()
    train, test = own["train"], own["test"]
    apart = ((test.x[:, None] - train.x) ** 2).sum(-1)
    nearest = np.argsort(apart, axis=1)[:, : probe.NEIGHBOURS]
    votes = np.stack([(train.y[nearest] == c).sum(1) for c in range(4)], axis=1)
    assert probe.neighbours(train, test) == np.mean(votes.argmax(1) == test.y)


def test_ridge_solves_its_normal_equations() -> None:
    own = splits()
    both = probe.standardised({"train": own["train"], "other": own["test"]})
    x, n = both["train"].x, len(own["train"].y)
    y = np.eye(4)[own["train"].y]
    padded = np.vstack([x, np.sqrt(n * probe.RIDGE) * np.eye(6)])
    weight, *_ = np.linalg.lstsq(padded, np.vstack([y - y.mean(0), np.zeros((6, 4))]), rcond=None)
    answers = (both["other"].x @ weight + y.mean(0)).argmax(1)
    assert probe.ridge(own["train"], own["test"]) == np.mean(answers == own["test"].y)


def test_no_more_examples_are_read_than_said_and_the_same_for_all() -> None:
    index = probe.chosen_examples(12_000)
    assert len(index) == probe.MOST_EXAMPLES == len(index.unique())
    assert torch.equal(index, probe.chosen_examples(12_000))
    assert torch.equal(probe.chosen_examples(50), torch.arange(50))
