"""N-MNIST: MNIST's digits as a moving event camera saw them, as frames of spikes."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from bioplaus.tasks.dataset import Split, SplitName

from .files import FileDataset, damaged, download_file, md5_of

SIDE = 34
"""Pixels of the camera's picture, each way."""
OVERFLOW = 240
"""In the place of a row: no event, but 2^13 microseconds that the clock has gone on by."""
_MOST_BYTES = 2**20
"""Of one recording; the longest hold some 40,000."""
_MEMBER = re.compile(r"(?:.*/)?(\d)/(\d+)\.bin")


class NMnist(FileDataset):
    """MNIST's digits as a moving event camera saw them, 60,000 + 10,000.

    The camera makes three saccades before each digit, in 315 ms, and reports each pixel that
    grows brighter or darker. Here the recordings are 10 frames of 31.5 ms, 17 x 17: in a frame
    a unit is 1 where any of its 2 x 2 pixels had an event, of one polarity. So the 20
    channels are frame by frame the darker and the brighter polarity, a train of 10 steps.
    The digits are in MNIST's order. Both archives are verified each time they are read.

    Source: G. Orchard, A. Jayawant, G. K. Cohen and N. Thakor, "Converting static image datasets
    to spiking neuromorphic datasets using saccades", Frontiers in Neuroscience 9:437, 2015;
    the sums are those of `tonic.datasets.NMNIST`.
    """

    name = "nmnist"
    frames: ClassVar[int] = 10
    microseconds: ClassVar[int] = 31_500
    """Of a frame; what comes after the last one is left out."""
    shape = (20, 17, 17)
    classes = 10
    sizes: ClassVar[Mapping[SplitName, int]] = {"train": 60_000, "test": 10_000}
    files: ClassVar[Mapping[SplitName, tuple[str, ...]]] = {
        "train": ("train.zip",),
        "test": ("test.zip",),
    }
    contents = "train.zip and test.zip of https://www.garrickorchard.com/datasets/n-mnist"
    md5: ClassVar[Mapping[SplitName, str]] = {
        "train": "20959b8e626244a1b502305a9e6e2031",
        "test": "69ca8762b2fe404d9b9bad1103e97832",
    }
    mirror: ClassVar[str] = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files/"
    urls: ClassVar[Mapping[SplitName, str]] = {
        "train": mirror + "39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",
        "test": mirror + "05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",
    }

    def _read(self, folder: Path, split: SplitName) -> Split:
        path = folder / self.files[split][0]
        try:
            if md5_of(path) != self.md5[split]:
                raise damaged(path, "has the wrong checksum: its content was altered")
            with zipfile.ZipFile(path) as archive:
                return self._recordings(archive, path, self.sizes[split])
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise damaged(path, f"cannot be read ({error})") from error

    def _recordings(self, archive: zipfile.ZipFile, path: Path, size: int) -> Split:
        found = [
            (int(m.group(2)), int(m.group(1)), info)
            for info in archive.infolist() if (m := _MEMBER.fullmatch(info.filename))
        ]  # fmt: skip
        if len(found) != size:
            raise damaged(path, f"holds {len(found)} recordings in place of {size}")
        found.sort(key=lambda each: each[:2])
        x = np.zeros((size, *self.shape), np.uint8)
        for k, (_, _, info) in enumerate(found):
            if info.file_size > _MOST_BYTES:
                raise damaged(path, f"holds a recording of {info.file_size} bytes")
            try:
                x[k] = self.framed(archive.read(info))
            except ValueError as error:
                raise damaged(path, f"{info.filename}: {error}") from None
        return Split(torch.from_numpy(x), torch.tensor([label for _, label, _ in found]))

    def framed(self, data: bytes) -> NDArray[np.uint8]:
        """One recording's bytes as 0 and 1, `shape`; ValueError where they are none."""
        across, down, polarity, when = events(data)
        frame = when // self.microseconds
        kept = frame < self.frames
        channel = 2 * frame[kept] + polarity[kept]
        x = np.zeros(self.shape, np.uint8)
        x[channel, down[kept] // 2, across[kept] // 2] = 1
        return x

    def _fetch(self, folder: Path) -> None:
        folder.mkdir()
        for split, url in self.urls.items():
            download_file(url, self.files[split][0], self.md5[split], folder)


Numbers = NDArray[np.int64]


def events(data: bytes) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Column, row, polarity (1: brighter) and microsecond of each event of a recording.

    An event is five bytes: the column, the row, and 24 bits of which the first is the polarity
    and the others are the time. ValueError where they are no such events.
    """
    if len(data) % 5:
        raise ValueError(f"{len(data)} bytes are no whole number of events of 5 bytes")
    raw = np.frombuffer(data, np.uint8).reshape(-1, 5).astype(np.int64)
    when = (raw[:, 2] & 127) << 16 | raw[:, 3] << 8 | raw[:, 4]
    overflow = raw[:, 1] == OVERFLOW
    when += 2**13 * np.cumsum(overflow)
    across, down, polarity = raw[:, 0], raw[:, 1], raw[:, 2] >> 7
    real = ~overflow
    if real.any() and max(across[real].max(), down[real].max()) >= SIDE:
        raise ValueError(f"it has events beyond {SIDE} x {SIDE} pixels")
    return across[real], down[real], polarity[real], when[real]
