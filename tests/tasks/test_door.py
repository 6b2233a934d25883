"""Datasets at the door: what is unambiguous is converted, and is then the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioplaus.tasks.arrays import InvalidExamples, as_tensor
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.door import load_dataset, load_split
from tests.helpers.strangers import install_dataset

X, Y = np.arange(12.0).reshape(3, 4), np.array([0, 1, 2])


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, Y),
        (torch.from_numpy(X), Y.astype(np.uint8)),
        (X.tolist(), Y.tolist()),
        (X.astype(">f8"), Y.astype(">i4")),
        (np.asfortranarray(X), np.array([2, 1, 0])[::-1]),
        (X[::-1][::-1], tuple(Y.tolist())),
        (X, torch.tensor([0, 1, 2], dtype=torch.int32)),
    ],
)
def test_arrays_of_any_kind_are_the_same_split(x: Any, y: Any) -> None:
    split = Split(x, y)
    assert torch.equal(split.x, torch.from_numpy(X)) and split.x.dtype == torch.float64
    assert split.y.dtype == torch.int64 and split.y.tolist() == [0, 1, 2]
    assert split.checksum == Split(torch.from_numpy(X.copy()), torch.tensor([0, 1, 2])).checksum


def test_a_read_only_array_is_copied() -> None:
    given = X.copy()
    given.flags.writeable = False
    split = Split(given, Y)
    split.x.add_(1)
    assert given[0, 0] == 0


def test_types_that_torch_lacks_keep_their_values() -> None:
    wide = np.array([[0, 65535]], dtype=np.uint16)
    assert as_tensor(wide, "examples").tolist() == [[0, 65535]]
    assert as_tensor(wide.astype(np.uint32), "examples").dtype == torch.int64


@pytest.mark.parametrize(
    ("values", "says"),
    [(None, "NoneType"), ([[1], [1, 2]], "different lengths"), (b"bytes", "bytes"), ({}, "dict"),
     (np.array(["2020"], dtype="datetime64[Y]"), "datetime64"), (5, "a single number")],
)  # fmt: skip
def test_what_is_no_array_of_numbers_is_refused(values: Any, says: str) -> None:
    with pytest.raises(InvalidExamples, match=says):
        Split(values, Y)


@pytest.mark.parametrize(
    "result",
    ["return Split(x.numpy(), y.numpy())", "return x, y", "return [x.numpy(), y.tolist()]",
     "return Split(x, y.to(torch.uint8))"],
)  # fmt: skip
def test_a_dataset_may_give_any_of_these(result: str, site: Path) -> None:
    name = f"given-{abs(hash(result))}"
    install_dataset(site, name, result)
    install_dataset(site, f"{name}-plain")
    given = load_split(load_dataset(name), "train")
    assert given.checksum == load_split(load_dataset(f"{name}-plain"), "train").checksum
