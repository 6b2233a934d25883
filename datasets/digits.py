"""Handwritten digits, 8 x 8 grey, 1,437 + 360 (scikit-learn; Alpaydin and Kaynak)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import ClassVar

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
        from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]

        data = load_digits()
        x = torch.from_numpy(data.images).to(torch.uint8).reshape(-1, *self.shape)
        y = torch.from_numpy(data.target).to(torch.int64)
        return Split(x, y)[torch.tensor(split_indices(split))]


def split_indices(split: SplitName) -> list[int]:
    """Where in scikit-learn's order the examples of a split stand: 1437 or 360 indices."""
    ranked = sorted(range(EXAMPLES), key=_rank)
    return ranked[:TEST_EXAMPLES] if split == "test" else ranked[TEST_EXAMPLES:]


def _rank(index: int) -> str:
    return hashlib.sha256(f"bioplaus digits {index}".encode()).hexdigest()
