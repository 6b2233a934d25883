"""The IDX family: gzipped images and labels in four files, found or fetched, then verified."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import math
import os
import socket
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from bioplaus.dataset import Dataset, Split, SplitName
from bioplaus.errors import DataError

FILES: Mapping[SplitName, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
ALL_FILES = tuple(name for pair in FILES.values() for name in pair)
REMEDY = "replace it, delete the folder to download again, or point BIOPLAUS_DATA elsewhere"


class IdxDataset(Dataset):
    """Grey images and labels in the four files of MNIST (http://yann.lecun.com/exdb/mnist/).

    The files are looked for in `$BIOPLAUS_DATA/<name>`, in the user cache and in
    `system_folder`. The first of them that holds any of the four is used and never
    written to; where none does, torchvision's copy is downloaded into the user cache.
    Every file is verified each time it is read, against `sha256` or else `gz_md5`.
    """

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
    system_folder: ClassVar[Path | None] = None

    def load(self, split: SplitName) -> Split:
        """x: uint8, (N, *shape); y: int64, (N,); DataError where files are missing or damaged."""
        return self._read(self._find() or self._download(), split)

    def _places(self) -> list[Path]:
        supplied = os.environ.get("BIOPLAUS_DATA")
        first = [Path(supplied) / self.name] if supplied else []
        return [*first, self._cache(), *([self.system_folder] if self.system_folder else [])]

    def _cache(self) -> Path:
        from platformdirs import user_cache_path

        return user_cache_path("bioplaus") / "datasets" / self.name

    def _find(self) -> Path | None:
        for place in self._places():
            missing = [name for name in ALL_FILES if not os.path.isfile(place / name)]
            if not missing:
                return place
            if len(missing) < len(ALL_FILES):
                raise DataError(f"{place} lacks {', '.join(missing)}; {REMEDY}")
        return None

    def _read(self, folder: Path, split: SplitName) -> Split:
        images, labels = FILES[split]
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
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        return digest.hexdigest() == self.gz_md5[stem]

    def _download(self) -> Path:
        target = self._cache()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Renamed as a whole once verified: an interruption leaves no half-filled folder.
            with tempfile.TemporaryDirectory(prefix=f".{self.name}-", dir=target.parent) as parent:
                fresh = Path(parent, self.name)
                fetch(self.torchvision_class, fresh)
                for split in FILES:
                    self._read(fresh, split)
                publish(fresh, target)
        except (OSError, RuntimeError, ImportError, DataError) as error:
            places = ", ".join(map(str, self._places()))
            reason = " ".join(str(error).split())
            raise DataError(
                f"{self.name} is not in {places} and could not be downloaded ({reason}); "
                f"put its four .gz files into DIR/{self.name} and set BIOPLAUS_DATA=DIR"
            ) from error
        return target


def damaged(path: Path | str, what: str) -> DataError:
    """The error that says which file is wrong, how, and what to do."""
    return DataError(f"{path} {what}; {REMEDY}")


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


def fetch(torchvision_class: str, folder: Path) -> None:
    """Downloads the files of a torchvision set; ImportError without torchvision."""
    from torchvision import datasets  # type: ignore[import-untyped,unused-ignore]

    source = getattr(datasets, torchvision_class)
    for name, md5 in source.resources:
        fetch_file(source.mirrors, name, md5, folder)


def fetch_file(mirrors: Sequence[str], name: str, md5: str, folder: Path) -> None:
    """Downloads one file from the first mirror that gives it; DataError where none does."""
    from torchvision.datasets import utils  # type: ignore[import-untyped,unused-ignore]

    failures = []
    for mirror in mirrors:
        try:
            with contextlib.redirect_stdout(sys.stderr), socket_timeout():
                utils.download_url(mirror + name, str(folder), name, md5)
            return
        except (OSError, HTTPException, RuntimeError) as error:
            failures.append(f"{mirror}{name}: {error}")
    raise DataError("; ".join(failures))


def publish(fresh: Path, target: Path) -> None:
    """Renames the folder, unless another process has put the same files there meanwhile."""
    try:
        fresh.rename(target)
    except OSError:
        if not all(os.path.isfile(target / name) for name in ALL_FILES):
            raise


@contextlib.contextmanager
def socket_timeout(seconds: float = 30.0) -> Iterator[None]:
    """torchvision sets no timeout: where a firewall drops packets it would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
