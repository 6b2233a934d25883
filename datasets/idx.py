"""The IDX family: gzipped images and labels in four files, found or fetched, then verified."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from bioplaus.tasks.dataset import Split, SplitName

from .files import FileDataset, damaged, fetch_file, md5_of


class IdxDataset(FileDataset):
    """Grey images and labels in the four files of MNIST (http://yann.lecun.com/exdb/mnist/).

    What is downloaded is torchvision's copy. Every file is verified each time it is
    read, against `sha256` or else `gz_md5`.
    """

    files: ClassVar[Mapping[SplitName, tuple[str, str]]] = {
        "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
    }
    contents = "its four .gz files"
    shape = (1, 28, 28)
    classes = 10
    scale = 1 / 255
    sizes: ClassVar[Mapping[SplitName, int]] = {"train": 60_000, "test": 10_000}
    sha256: ClassVar[Mapping[str, str]] = {}
    """`train-images` etc. -> SHA-256 of the content: copies differ in how they are compressed."""
    gz_md5: ClassVar[Mapping[str, str]] = {}
    """The same -> MD5 of the .gz file, for sets of which no other sum is published."""
    torchvision_class: ClassVar[str]
    """The class in `torchvision.datasets` that knows the mirrors."""

    def _read(self, folder: Path, split: SplitName) -> Split:
        images, labels = self.files[split]
        size = self.sizes[split]
        x = self._tensor(folder / images, (size, *self.shape[1:]))
        y = self._tensor(folder / labels, (size,))
        return Split(x.reshape(size, *self.shape), y.long())

    def _tensor(self, path: Path, shape: tuple[int, ...]) -> Tensor:
        data = read_gz(path, 4 + 4 * len(shape) + math.prod(shape))
        tensor = parse_idx(data, str(path))
        if tensor.shape != shape:
            raise damaged(path, f"holds shape {tuple(tensor.shape)} in place of {shape}")
        if not self._is_genuine(path, data):
            raise damaged(path, "has the wrong checksum: its content was altered")
        return tensor

    def _is_genuine(self, path: Path, data: bytes) -> bool:
        stem = path.name.partition("-idx")[0]
        if stem in self.sha256:
            return hashlib.sha256(data).hexdigest() == self.sha256[stem]
        return md5_of(path) == self.gz_md5[stem]

    def _fetch(self, folder: Path) -> None:
        from torchvision import datasets  # type: ignore[import-untyped,unused-ignore]

        source = getattr(datasets, self.torchvision_class)
        for name, md5 in source.resources:
            fetch_file(source.mirrors, name, md5, folder)


def read_gz(path: Path, size: int) -> bytes:
    """Decompressed content of at most `size` bytes; DataError where it is longer or unreadable."""
    try:
        with gzip.open(path) as stream:
            data = stream.read(size + 1)
    except EOFError as error:
        raise damaged(path, "is truncated") from error
    except (OSError, zlib.error) as error:
        raise damaged(path, f"cannot be read ({error})") from error
    if len(data) > size:
        raise damaged(path, f"decompresses to more than the expected {size} bytes")
    return data


def parse_idx(data: bytes, name: str) -> Tensor:
    """The uint8 tensor in IDX bytes, shaped as their header says; else DataError naming `name`.

    Format: two zero bytes, the type code, the number of dimensions, each dimension as
    a big-endian uint32, the values in row-major order (LeCun's page on MNIST). Taken
    are unsigned bytes (type 0x08) in one to four dimensions, none of size 0.
    """
    if len(data) < 4 or data[:3] != b"\0\0\x08" or not 1 <= data[3] <= 4:
        raise damaged(name, f"is no IDX file of unsigned bytes (it starts with {data[:4].hex()!r})")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise damaged(name, f"ends within its header of {data[3]} dimensions")
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    if math.prod(shape) != len(data) - start or 0 in shape:
        raise damaged(name, f"holds {len(data) - start} values where its header says {shape}")
    return torch.frombuffer(bytearray(memoryview(data)[start:]), dtype=torch.uint8).reshape(shape)
