"""Colour photographs of ten kinds of things, 32 x 32, 50,000 + 10,000 (Krizhevsky)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from bioplaus.tasks.dataset import SplitName

from .cifar import CifarDataset

FOLDER = "cifar-10-batches-bin"


class Cifar10(CifarDataset):
    """Colour photographs of ten kinds of things, 32 x 32, 50,000 + 10,000.

    Read from the binary version: six files of 10,000 records.

    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009,
    https://www.cs.toronto.edu/~kriz/cifar.html. The MD5 sum is that page's; the SHA-256 sums
    are those that the Ruby library torchvision checks.
    """

    name = "cifar10"
    classes = 10
    files: ClassVar[Mapping[SplitName, tuple[str, ...]]] = {
        "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test": ("test_batch.bin",),
    }
    folder = FOLDER
    contents = f"the .bin files of cifar-10-binary.tar.gz, or its folder {FOLDER},"
    archive = "cifar-10-binary.tar.gz"
    archive_md5 = "c32a1d4ab5d03f1284b67883e8d87530"
    archive_sha256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    sha256: ClassVar[Mapping[str, str]] = {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    }
