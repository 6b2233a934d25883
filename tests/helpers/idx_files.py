"""Small data sets in the IDX format, and what stands in for their download."""

from __future__ import annotations

import gzip
import hashlib
import socket
import struct
import urllib.error
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from bioplaus.datasets.idx import IdxDataset
from bioplaus.errors import DataError
from bioplaus.tasks.dataset import Split, SplitName


def idx(shape: tuple[int, ...], values: bytes) -> bytes:
    """The IDX format as it is defined: magic number, big-endian sizes, bytes in row-major order."""
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + values


CONTENT = {
    "train-images-idx3-ubyte.gz": idx((5, 2, 3), bytes(range(100, 130))),
    "train-labels-idx1-ubyte.gz": idx((5,), bytes([3, 1, 4, 1, 5])),
    "t10k-images-idx3-ubyte.gz": idx((3, 2, 3), bytes(range(237, 255))),
    "t10k-labels-idx1-ubyte.gz": idx((3,), bytes([9, 2, 6])),
}
FILES = {name: gzip.compress(data, mtime=0) for name, data in CONTENT.items()}
IMAGES, LABELS = list(FILES)[:2]


def stem(name: str) -> str:
    return name.split("-idx")[0]


class Tiny(IdxDataset):
    """Five and three images of 2 x 3, known by the sums of their content."""

    name = "tiny"
    shape = (1, 2, 3)
    sizes: ClassVar[Mapping[SplitName, int]] = {"train": 5, "test": 3}
    sha256: ClassVar[Mapping[str, str]] = {
        stem(name): hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()
    }
    torchvision_class = "Tiny"


class TinyMd5(Tiny):
    """The same, known by the sums of its compressed files."""

    sha256: ClassVar[Mapping[str, str]] = {}
    gz_md5: ClassVar[Mapping[str, str]] = {
        stem(name): hashlib.md5(data).hexdigest() for name, data in FILES.items()
    }


class Downloads:
    """Stands in for torchvision's downloader: chatty, and failing where `fail` says."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.content = dict(FILES)
        self.before: Callable[[str], None] = lambda url: None

    def __call__(self, url: str, root: str, filename: str, md5: str) -> None:
        self.urls.append(url)
        print("Downloading", url)
        assert socket.getdefaulttimeout() is not None
        self.before(url)
        Path(root).mkdir(exist_ok=True)
        Path(root, filename).write_bytes(self.content[filename])


def offline(url: str) -> None:
    raise urllib.error.URLError("Name or service\nnot known")


def fill(folder: Path, **damage: bytes) -> Path:
    """Writes the four files; `damage` replaces those that a stem, with _ for -, names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(damage.get(stem(name).replace("-", "_"), data))
    return folder


def assert_tiny(split: Split) -> None:
    expected = torch.arange(100, 130, dtype=torch.uint8).reshape(5, 1, 2, 3)
    assert split.x.dtype == torch.uint8 and torch.equal(split.x, expected)
    assert split.y.dtype == torch.int64 and split.y.tolist() == [3, 1, 4, 1, 5]


def failure(dataset: IdxDataset, *parts: str | Path) -> None:
    """Loading fails with one line that holds all parts."""
    with pytest.raises(DataError) as caught:
        dataset.load("train")
    message = str(caught.value)
    assert "\n" not in message and "BIOPLAUS_DATA" in message
    assert all(str(part) in message for part in parts), message
