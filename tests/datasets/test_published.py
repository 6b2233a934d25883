"""The data sets as they were published: sizes, classes, means, and the split of digits."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
import torchvision  # type: ignore[import-untyped,unused-ignore]
from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]

from bioplaus.datasets.digits import Digits
from bioplaus.datasets.fashion_mnist import FashionMnist
from bioplaus.datasets.idx import IdxDataset
from bioplaus.datasets.kmnist import Kmnist
from bioplaus.datasets.mnist import Mnist
from bioplaus.tasks.dataset import SplitName
from tests.helpers.idx_files import FILES, stem

REAL = Path(os.environ.get("BIOPLAUS_DATA") or Path(__file__).parents[3] / "shared" / "datasets")
# Class counts of the publications; mean pixel of the training images in [0, 1], as widely used.
PUBLISHED = [
    (Mnist, "train", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 0.1307),
    (Mnist, "test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], None),
    (FashionMnist, "train", [6000] * 10, 0.2860),
    (FashionMnist, "test", [1000] * 10, None),
]
SPLITS: tuple[SplitName, SplitName] = ("train", "test")


@pytest.mark.parametrize(("cls", "split", "counts", "mean"), PUBLISHED)
def test_published_sets(
    cls: type[IdxDataset],
    split: SplitName,
    counts: list[int],
    mean: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not (REAL / cls.name).is_dir():
        pytest.skip(f"{REAL} holds no {cls.name}")
    monkeypatch.setenv("BIOPLAUS_DATA", str(REAL))
    data = cls().load(split)
    assert data.x.shape == (sum(counts), 1, 28, 28) and data.x.dtype == torch.uint8
    assert data.y.dtype == torch.int64 and data.y.bincount().tolist() == counts
    if mean is not None:
        scaled = data.x.sum(dtype=torch.int64).item() / data.x.numel() * cls.scale
        assert scaled == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("cls", [Mnist, FashionMnist, Kmnist])
def test_tables_name_the_four_files_that_torchvision_offers(cls: type[IdxDataset]) -> None:
    offered = dict(getattr(torchvision.datasets, cls.torchvision_class).resources)
    assert set(offered) == set(FILES)
    assert set(cls.sha256 or cls.gz_md5) == {stem(name) for name in FILES}
    assert all(offered[name] == cls.gz_md5.get(stem(name), offered[name]) for name in FILES)
    assert (cls.shape, cls.classes, cls.scale) == ((1, 28, 28), 10, 1 / 255)


def test_names() -> None:
    names = [cls.name for cls in (Digits, Mnist, FashionMnist, Kmnist)]
    assert names == ["digits", "mnist", "fashion-mnist", "kmnist"]


# Of each split in order, each example's 64 pixels and label as bytes: SHA-256, found with the
# sha256sum command for the ranks. It changes if scikit-learn's copy or the split ever does.
DIGITS_SHA256 = {
    "train": "aa18637838b3af9c8ba340c940c8f16637705145437f8cd819df29bd3b32935d",
    "test": "fd3c5f64bbe72c6d90347bcf57a35119c92b5cee02b1b50b3845a5c5df0fcc0d",
}


@pytest.mark.parametrize("split", SPLITS)
def test_digits_are_split_by_the_published_rule(split: SplitName) -> None:
    raw = load_digits()
    ranks = {hashlib.sha256(b"bioplaus digits %d" % i).hexdigest(): i for i in range(1797)}
    order = [ranks[rank] for rank in sorted(ranks)]
    expected = order[:360] if split == "test" else order[360:]
    data = Digits().load(split)
    assert data.x.shape == (len(expected), 1, 8, 8) and data.x.dtype == torch.uint8
    assert data.y.dtype == torch.int64
    assert (data.x.flatten(1).numpy() == raw.data[expected]).all()
    assert (data.y.numpy() == raw.target[expected]).all()
    rows = torch.cat([data.x.flatten(1), data.y.to(torch.uint8)[:, None]], dim=1)
    assert hashlib.sha256(rows.numpy().tobytes()).hexdigest() == DIGITS_SHA256[split]


def test_digits_are_whole_and_reproducible() -> None:
    train, test = (Digits().load(split) for split in SPLITS)
    assert (len(train), len(test)) == (1437, 360)
    counts = torch.cat([train.y, test.y]).bincount().tolist()
    assert counts == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # UCI's description
    assert int(train.x.max()) * Digits.scale == 1.0 and Digits.classes == 10
    assert Digits().load("train").checksum == train.checksum != test.checksum
