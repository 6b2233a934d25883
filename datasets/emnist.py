"""Handwritten characters as MNIST has its digits, in two splits (Cohen et al.)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bioplaus.errors import DataError
from bioplaus.tasks.dataset import Split, SplitName

from .files import fetch_file, sha256_of
from .idx import IdxDataset

ARCHIVE = "gzip.zip"
_MOST_BYTES = 2**28
"""Of one compressed file; the largest has some 30 MB."""


def _files(which: str) -> dict[SplitName, tuple[str, str]]:
    return {
        split: (
            f"emnist-{which}-{split}-images-idx3-ubyte.gz",
            f"emnist-{which}-{split}-labels-idx1-ubyte.gz",
        )
        for split in ("train", "test")
    }


class Emnist(IdxDataset):
    """Handwritten characters, 28 x 28 grey: the split `balanced`, 112,800 + 18,800.

    47 classes: digits, capitals, and those small letters that do not look like theirs. The files
    have images on their side; here they stand upright, as MNIST's do. The archive is verified
    when it is downloaded; of the files in it no sums are published, and only the shape, the
    labels and gzip's own checksum are verified when they are read.

    Source: G. Cohen, S. Afshar, J. Tapson, A. van Schaik, "EMNIST: an extension of MNIST to
    handwritten letters", 2017, arXiv 1702.05373. The MD5 sum is that of
    `torchvision.datasets.EMNIST`, the SHA-256 sum that of TensorFlow Datasets.
    """

    name = "emnist"
    classes = 47
    sizes: ClassVar[Mapping[SplitName, int]] = {"train": 112_800, "test": 18_800}
    files: ClassVar[Mapping[SplitName, tuple[str, str]]] = _files("balanced")
    first_label: ClassVar[int] = 0
    contents = "the four emnist-balanced-....gz of the archive gzip.zip of NIST"
    mirrors: ClassVar[tuple[str, ...]] = ("https://biometrics.nist.gov/cs_links/EMNIST/",)
    archive_md5: ClassVar[str] = "58c8d27c78d21e728a6bc7b3cc06412e"
    archive_sha256: ClassVar[str] = (
        "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"
    )
    unpacked: ClassVar[tuple[str, ...]] = ("balanced", "letters")
    """Splits that are taken from the archive, so that it is downloaded once."""

    @property
    def place(self) -> str:
        """Both splits' files lie in one folder."""
        return "emnist"

    def _read(self, folder: Path, split: SplitName) -> Split:
        found = super()._read(folder, split)
        return Split(found.x.mT.contiguous(), found.y - self.first_label)

    def _is_genuine(self, path: Path, data: bytes) -> bool:
        return True  # see the class

    def _fetch(self, folder: Path) -> None:
        folder.mkdir()
        packed = folder / ARCHIVE
        fetch_file(self.mirrors, ARCHIVE, self.archive_md5, folder)
        if sha256_of(packed) != self.archive_sha256:
            raise DataError(f"{ARCHIVE} has the wrong checksum: its content was altered")
        try:
            with zipfile.ZipFile(packed) as archive:
                for names in (n for w in self.unpacked for n in _files(w).values()):
                    for name in names:
                        with archive.open(f"gzip/{name}") as member:
                            (folder / name).write_bytes(member.read(_MOST_BYTES))
        except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
            raise DataError(f"{ARCHIVE} cannot be unpacked ({error})") from error
        packed.unlink()


class EmnistLetters(Emnist):
    """Handwritten letters, 28 x 28 grey: the split `letters` of EMNIST, 124,800 + 20,800.

    26 classes, A to Z, each of capitals and small letters; class 0 is A, which the files
    call 1. What is said of `emnist` holds here.
    """

    name = "emnist-letters"
    classes = 26
    sizes: ClassVar[Mapping[SplitName, int]] = {"train": 124_800, "test": 20_800}
    files: ClassVar[Mapping[SplitName, tuple[str, str]]] = _files("letters")
    first_label: ClassVar[int] = 1
    contents = "the four emnist-letters-....gz of the archive gzip.zip of NIST"
