"""The binary versions of CIFAR: records of label bytes and pixels, in files of one archive."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch

from bioplaus.errors import DataError
from bioplaus.tasks.dataset import Split, SplitName

from .files import FileDataset, damaged, fetch_file, sha256_of


class CifarDataset(FileDataset):
    """Colour photographs, 32 x 32, in binary files of records: label bytes, then 3,072 bytes of
    red, green and blue, row by row.

    (The versions for Python are pickled, and a pickle runs whatever its author likes.) The
    archive is verified when it is downloaded, a file whenever it is read, against `sha256`; so
    are its size and its labels.
    """

    shape = (3, 32, 32)
    sizes: ClassVar[Mapping[SplitName, int]] = {"train": 50_000, "test": 10_000}
    scale = 1 / 255
    records: ClassVar[int] = 10_000
    """In each file, where `sizes` and `files` do not say."""
    label_bytes: ClassVar[int] = 1
    """Before the pixels of a record; the last of them is the class."""
    folder: ClassVar[str]
    """What the archive unpacks to."""
    mirrors: ClassVar[tuple[str, ...]] = ("https://www.cs.toronto.edu/~kriz/",)
    archive: ClassVar[str]
    archive_md5: ClassVar[str]
    """As its authors publish it."""
    archive_sha256: ClassVar[str]
    sha256: ClassVar[Mapping[str, str]] = {}
    """Of the files, by name."""

    def _places(self) -> list[Path]:
        return [folder for place in super()._places() for folder in (place, place / self.folder)]

    def _read(self, folder: Path, split: SplitName) -> Split:
        count = self._count(split)
        records = torch.cat([self._records(folder / name, count) for name in self.files[split]])
        pixels = records[:, self.label_bytes :].reshape(-1, *self.shape)
        return Split(pixels, records[:, self.label_bytes - 1].long())

    def _count(self, split: SplitName) -> int:
        """Records in each file of a split."""
        return self.records

    def _records(self, path: Path, count: int) -> torch.Tensor:
        size = self._size(count)
        try:
            with path.open("rb") as file:
                data = file.read(size + 1)
        except OSError as error:
            raise damaged(path, f"cannot be read ({error})") from error
        if len(data) != size:
            found = f"more than {size}" if len(data) > size else str(len(data))
            raise damaged(path, f"holds {found} bytes in place of {size}")
        records = torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(count, -1)
        if int(records[:, self.label_bytes - 1].max()) >= self.classes:
            raise damaged(path, f"has labels beyond {self.classes - 1}: it is no file of this set")
        if self.sha256.get(path.name, "") not in ("", sha256_of(path)):
            raise damaged(path, "has the wrong checksum: its content was altered")
        return records

    def _size(self, count: int) -> int:
        return count * (self.label_bytes + torch.Size(self.shape).numel())

    def _fetch(self, folder: Path) -> None:
        folder.mkdir()
        packed = folder / self.archive
        fetch_file(self.mirrors, self.archive, self.archive_md5, folder)
        if sha256_of(packed) != self.archive_sha256:
            raise DataError(f"{self.archive} has the wrong checksum: its content was altered")
        try:
            with tarfile.open(packed) as archive:
                for split, names in self.files.items():
                    for name in names:
                        member = archive.extractfile(f"{self.folder}/{name}")
                        if member is None:
                            raise DataError(f"{self.archive} holds no file {self.folder}/{name}")
                        content = member.read(self._size(self._count(split)) + 1)
                        (folder / name).write_bytes(content)
        except (tarfile.TarError, KeyError, EOFError, zlib.error) as error:
            raise DataError(f"{self.archive} cannot be unpacked ({error})") from error
        packed.unlink()
