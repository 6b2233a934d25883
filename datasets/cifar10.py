"""Colour photographs of ten kinds of things, 32 x 32, 50,000 + 10,000 (Krizhevsky)."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch

from bioplaus.errors import DataError
from bioplaus.tasks.dataset import Split, SplitName

from .files import FileDataset, damaged, fetch_file, md5_of

FOLDER = "cifar-10-batches-bin"
"""What the archive unpacks to."""


class Cifar10(FileDataset):
    """Colour photographs of ten kinds of things, 32 x 32, 50,000 + 10,000.

    Read from the binary version: six files of 10,000 records, each a label byte and
    3,072 bytes of red, green and blue, row by row. (The version for Python is pickled,
    and a pickle runs whatever its author likes.) The archive is verified when it is
    downloaded, the size and the labels of a file whenever it is read.

    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009,
    https://www.cs.toronto.edu/~kriz/cifar.html.
    """

    name = "cifar10"
    shape = (3, 32, 32)
    classes = 10
    sizes: ClassVar[Mapping[SplitName, int]] = {"train": 50_000, "test": 10_000}
    scale = 1 / 255
    files: ClassVar[Mapping[SplitName, tuple[str, ...]]] = {
        "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test": ("test_batch.bin",),
    }
    contents = f"the .bin files of cifar-10-binary.tar.gz, or its folder {FOLDER},"
    records: ClassVar[int] = 10_000
    """In each file."""
    mirrors: ClassVar[tuple[str, ...]] = ("https://www.cs.toronto.edu/~kriz/",)
    archive: ClassVar[str] = "cifar-10-binary.tar.gz"
    archive_md5: ClassVar[str] = "c32a1d4ab5d03f1284b67883e8d87530"

    def _places(self) -> list[Path]:
        return [folder for place in super()._places() for folder in (place, place / FOLDER)]

    def _read(self, folder: Path, split: SplitName) -> Split:
        records = torch.cat([self._records(folder / name) for name in self.files[split]])
        return Split(records[:, 1:].reshape(-1, *self.shape), records[:, 0].long())

    def _records(self, path: Path) -> torch.Tensor:
        try:
            with path.open("rb") as file:
                data = file.read(self._size() + 1)
        except OSError as error:
            raise damaged(path, f"cannot be read ({error})") from error
        if len(data) != self._size():
            found = f"more than {self._size()}" if len(data) > self._size() else str(len(data))
            raise damaged(path, f"holds {found} bytes in place of {self._size()}")
        records = torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(self.records, -1)
        if int(records[:, 0].max()) >= self.classes:
            raise damaged(path, f"has labels beyond {self.classes - 1}: it is no CIFAR-10 file")
        return records

    def _size(self) -> int:
        return self.records * (1 + torch.Size(self.shape).numel())

    def _fetch(self, folder: Path) -> None:
        folder.mkdir()
        packed = folder / self.archive
        fetch_file(self.mirrors, self.archive, self.archive_md5, folder)
        if md5_of(packed) != self.archive_md5:
            raise DataError(f"{self.archive} has the wrong checksum: its content was altered")
        try:
            with tarfile.open(packed) as archive:
                for name in self._names():
                    member = archive.extractfile(f"{FOLDER}/{name}")
                    if member is None:
                        raise DataError(f"{self.archive} holds no file {FOLDER}/{name}")
                    (folder / name).write_bytes(member.read(self._size() + 1))
        except (tarfile.TarError, KeyError, EOFError, zlib.error) as error:
            raise DataError(f"{self.archive} cannot be unpacked ({error})") from error
        packed.unlink()
