"""The digits, from scikit-learn's file and from scikit-learn itself."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]

from bioplaus.datasets import digits


def test_the_file_holds_what_scikit_learn_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """And where the file is not at its place, the package is asked."""
    data = load_digits()
    for where in ("file", "package"):
        if where == "package":
            monkeypatch.setattr("bioplaus.datasets.digits.find_spec", lambda name: None)
        digits._rows.cache_clear()
        for split in ("train", "test"):
            found = digits.Digits().load(split)  # type: ignore[arg-type]
            index = digits.split_indices(split)  # type: ignore[arg-type]
            assert torch.equal(found.x.flatten(1).double(), torch.from_numpy(data.data[index]))
            assert torch.equal(found.y, torch.from_numpy(data.target[index]).long())
    digits._rows.cache_clear()
