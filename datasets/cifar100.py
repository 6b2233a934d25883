"""Colour photographs of a hundred kinds of things, 32 x 32, 50,000 + 10,000 (Krizhevsky)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from bioplaus.tasks.dataset import SplitName

from .cifar import CifarDataset

FOLDER = "cifar-100-binary"


class Cifar100(CifarDataset):
    """Colour photographs of a hundred kinds of things, 32 x 32, 50,000 + 10,000.

    Read from the binary version: two files of records with two labels, of which the second,
    the fine one, is taken.

    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009,
    https://www.cs.toronto.edu/~kriz/cifar.html. The MD5 sum is that page's; the SHA-256 sums
    are those that the Ruby library torchvision checks, the archive's TensorFlow Datasets' too.
    """

    name = "cifar100"
    classes = 100
    label_bytes = 2
    files: ClassVar[Mapping[SplitName, tuple[str, ...]]] = {
        "train": ("train.bin",),
        "test": ("test.bin",),
    }
    folder = FOLDER
    contents = f"train.bin and test.bin of cifar-100-binary.tar.gz, or its folder {FOLDER},"
    archive = "cifar-100-binary.tar.gz"
    archive_md5 = "03b5dce01913d631647c71ecec9e9cb8"
    archive_sha256 = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
    sha256: ClassVar[Mapping[str, str]] = {
        "train.bin": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
        "test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
    }

    def _count(self, split: SplitName) -> int:
        return self.sizes[split]
