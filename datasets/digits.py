"""Handwritten digits, 8 x 8 grey, 1,437 + 360 (scikit-learn; Alpaydin and Kaynak)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from bioplaus.tasks.dataset import Dataset, Split, SplitName

EXAMPLES = 1797
TEST_EXAMPLES = 360


class Digits(Dataset):
    """Handwritten digits, 8 x 8 grey, 1,437 + 360; ships with scikit-learn, no download.

    The set has no published split, so this one is fixed by a rule that no library's
    random generator enters: example i of `sklearn.datasets.load_digits` is ranked by
    the SHA-256 of the text "bioplaus digits i"; the first 360 are the test split, the
    rest the training split, both in that order.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI
    Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49 (its test part).
    """

    name = "digits"
    shape = (1, 8, 8)
    classes = 10
    sizes: ClassVar[Mapping[SplitName, int]] = {"train": 1437, "test": 360}
    scale = 1 / 16

    def load(self, split: SplitName) -> Split:
        """x: uint8 in 0..16, (N, 1, 8, 8); y: int64, (N,)."""
        rows = torch.from_numpy(_rows())
        x = rows[:, :-1].to(torch.uint8).reshape(-1, *self.shape)
        return Split(x, rows[:, -1].to(torch.int64))[torch.tensor(split_indices(split))]


@cache
def _rows() -> np.ndarray:
    """scikit-learn's 1,797 rows of 64 pixels and a class: read from its file, for importing the
    package takes longer than training; by the package where the file is not at its place."""
    spec = find_spec("sklearn")
    path = (
        Path(spec.origin or "").with_name("datasets") / "data" / "digits.csv.gz" if spec else None
    )
    if path is not None and path.is_file():
        return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]

    data = load_digits()
    return np.column_stack([data.data, data.target])


def split_indices(split: SplitName) -> list[int]:
    """Where in scikit-learn's order the examples of a split stand: 1437 or 360 indices."""
    ranked = sorted(range(EXAMPLES), key=_rank)
    return ranked[:TEST_EXAMPLES] if split == "test" else ranked[TEST_EXAMPLES:]


def _rank(index: int) -> str:
    return hashlib.sha256(f"bioplaus digits {index}".encode()).hexdigest()
