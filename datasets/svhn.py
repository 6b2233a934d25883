"""Digits of house numbers in street views, 32 x 32 colour, 73,257 + 26,032 (Netzer et al.)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch

from bioplaus.tasks.dataset import Split, SplitName

from .files import FileDataset, damaged, fetch_file, sha256_of


class Svhn(FileDataset):
    """Digits of house numbers in street views, 32 x 32 colour, 73,257 + 26,032.

    The cropped digits ("format 2"), without the extra examples. Class k is the digit k; the
    files call the digit 0 10. Both files are verified each time they are read.

    Source: Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu, A. Y. Ng, "Reading digits in
    natural images with unsupervised feature learning", NIPS workshop 2011,
    http://ufldl.stanford.edu/housenumbers. The MD5 sums are those of
    `torchvision.datasets.SVHN`, the SHA-256 sums those of TensorFlow Datasets.
    """

    name = "svhn"
    shape = (3, 32, 32)
    classes = 10
    scale = 1 / 255
    sizes: ClassVar[Mapping[SplitName, int]] = {"train": 73_257, "test": 26_032}
    files: ClassVar[Mapping[SplitName, tuple[str, ...]]] = {
        "train": ("train_32x32.mat",),
        "test": ("test_32x32.mat",),
    }
    contents = "train_32x32.mat and test_32x32.mat of http://ufldl.stanford.edu/housenumbers"
    mirrors: ClassVar[tuple[str, ...]] = ("http://ufldl.stanford.edu/housenumbers/",)
    md5: ClassVar[Mapping[str, str]] = {
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    }
    sha256: ClassVar[Mapping[str, str]] = {
        "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    }

    def _read(self, folder: Path, split: SplitName) -> Split:
        path = folder / self.files[split][0]
        try:
            genuine = sha256_of(path) == self.sha256[path.name]
        except OSError as error:
            raise damaged(path, f"cannot be read ({error})") from error
        if not genuine:
            raise damaged(path, "has the wrong checksum: its content was altered")
        from scipy.io import loadmat

        content = loadmat(str(path), variable_names=["X", "y"])
        images = torch.from_numpy(content["X"]).permute(3, 2, 0, 1).contiguous()
        return Split(images, torch.from_numpy(content["y"]).flatten().long() % 10)

    def _fetch(self, folder: Path) -> None:
        folder.mkdir()
        for name, md5 in self.md5.items():
            fetch_file(self.mirrors, name, md5, folder)
