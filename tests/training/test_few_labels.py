"""Readers of networks that learned from fewer examples than a reader is made for."""

from __future__ import annotations

import numpy as np
import pytest

from bioplaus.training.probe import Embedded, readings


def splits(count: int) -> dict[str, Embedded]:
    draw = np.random.default_rng(0)
    return {
        "train": Embedded(draw.normal(size=(count, 4)), np.arange(count) % 3),
        "validation": Embedded(draw.normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 0])),
        "test": Embedded(draw.normal(size=(4, 4)), np.array([0, 1, 0, 2])),
    }


def test_of_one_class_that_class_is_the_answer() -> None:
    found = readings(splits(1))
    assert found == {
        f"{split}_{reader}": share
        for split, share in (("test", 0.5), ("validation", 0.5))
        for reader in ("accuracy", "probe_few", "probe_neighbours")
    }


@pytest.mark.parametrize("count", [2, 4])
def test_fewer_examples_than_neighbours_are_all_asked(count: int) -> None:
    """Of 2 the labels are 0 and 1, of 4 they are 0, 1, 2, 0: 0 is the most frequent, or first."""
    found = readings(splits(count))
    assert found["test_probe_neighbours"] == 0.5
    assert all(0 <= share <= 1 for share in found.values())
