"""CIFAR-10's binary version, as small files of the real format."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from typing import ClassVar

from bioplaus.datasets.cifar10 import FOLDER, Cifar10

NAMES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
RECORD = 1 + 3072


def record(file: int, index: int) -> bytes:
    """A label, then the red, the green and the blue plane, each 32 rows of 32 bytes."""
    label = (3 * file + index) % 10
    planes = [bytes((c * 80 + file * 7 + index + i) % 256 for i in range(1024)) for c in range(3)]
    return bytes([label]) + b"".join(planes)


CONTENT = {name: record(f, 0) + record(f, 1) for f, name in enumerate(NAMES)}


def pack(content: dict[str, bytes]) -> bytes:
    """The same bytes at any time: tests are named by them, and each worker makes its own."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


ARCHIVE = pack({"readme.html": b"<html>", **CONTENT})


class Tiny(Cifar10):
    """Two records in each file."""

    records = 2
    mirrors: ClassVar[tuple[str, ...]] = ("a://x/",)
    archive_md5: ClassVar[str] = hashlib.md5(ARCHIVE).hexdigest()
    archive_sha256: ClassVar[str] = hashlib.sha256(ARCHIVE).hexdigest()
    sha256: ClassVar[Mapping[str, str]] = {
        n: hashlib.sha256(c).hexdigest() for n, c in CONTENT.items()
    }
