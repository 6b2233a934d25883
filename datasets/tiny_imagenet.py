"""Tiny ImageNet from its folder: 200 kinds of things, 64 x 64 colour, 100,000 + 10,000."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bioplaus.errors import DataError
from bioplaus.tasks.dataset import Dataset, Split, SplitName

from . import files

FOLDER = "tiny-imagenet-200"
_REMEDY = f"unpack {FOLDER}.zip again, or point BIOPLAUS_DATA elsewhere"


class TinyImageNet(Dataset):
    """Photographs of 200 kinds of things, 64 x 64 colour, 100,000 + 10,000, from their folder.

    The folder that tiny-imagenet-200.zip (http://cs231n.stanford.edu/tiny-imagenet-200.zip,
    SHA-256 6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821) unpacks to is
    looked for in `$BIOPLAUS_DATA/tiny-imagenet`; nothing is downloaded. The labels of its test
    pictures are not public: its validation pictures are the test split here, as in most papers.
    Class k is the k-th line of wnids.txt. That every picture is there is verified, not what is
    in it: no sums are published, and decoders differ in last bits, so that another Pillow may
    give another checksum in a record.
    """

    name = "tiny-imagenet"
    shape = (3, 64, 64)
    classes = 200
    scale = 1 / 255
    sizes: ClassVar[Mapping[SplitName, int]] = {"train": 100_000, "test": 10_000}

    def load(self, split: SplitName) -> Split:
        """x: uint8, (N, 3, 64, 64); y: int64, (N,); DataError where pictures are missing."""
        folder = self._folder()
        classes = self._classes(folder)
        pictures = (self._train if split == "train" else self._validation)(folder, classes)
        if len(pictures) != self.sizes[split]:
            raise damaged(
                folder,
                f"has {len(pictures)} pictures for the {split} split, of {self.sizes[split]}",
            )
        x = torch.empty(len(pictures), *self.shape, dtype=torch.uint8)
        for row, (path, _) in zip(x, pictures, strict=True):
            row.copy_(_picture(path, self.shape))
        return Split(x, torch.tensor([label for _, label in pictures]))

    def _folder(self) -> Path:
        from platformdirs import user_cache_path

        supplied = os.environ.get("BIOPLAUS_DATA")
        places = [Path(supplied).expanduser() / self.name] if supplied else []
        places.append(user_cache_path("bioplaus") / "datasets" / self.name)
        for folder in (found for place in places for found in (place, place / FOLDER)):
            if (folder / "wnids.txt").is_file():
                return folder
        raise DataError(
            f"{self.name} is not in {', '.join(map(str, places))} and is not downloaded; unpack "
            f"tiny-imagenet-200.zip into DIR/{self.name} and set BIOPLAUS_DATA=DIR"
        )

    def _classes(self, folder: Path) -> Mapping[str, int]:
        names = _lines(folder / "wnids.txt")
        wrong = [name for name in names if not name.isalnum()]
        if len(set(names)) != self.classes or wrong:
            raise damaged(folder / "wnids.txt", f"does not name {self.classes} classes")
        return {name: k for k, name in enumerate(names)}

    def _train(self, folder: Path, classes: Mapping[str, int]) -> list[tuple[Path, int]]:
        return [
            (path, label)
            for name, label in classes.items()
            for path in sorted((folder / "train" / name / "images").glob("*.JPEG"))
        ]

    def _validation(self, folder: Path, classes: Mapping[str, int]) -> list[tuple[Path, int]]:
        named = folder / "val" / "val_annotations.txt"
        found = []
        for line in _lines(named):
            picture, _, rest = line.partition("\t")
            label = classes.get(rest.partition("\t")[0])
            if label is None or Path(picture).name != picture:
                raise damaged(named, "does not say the class of every picture")
            found.append((folder / "val" / "images" / picture, label))
        return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, f"cannot be read ({error})") from error


def _picture(path: Path, shape: tuple[int, ...]) -> Tensor:
    """A JPEG file's pixels, grey ones as three equal channels; DataError."""
    try:
        with Image.open(path, formats=["JPEG"]) as file:
            pixels = np.array(file.convert("RGB")) if file.size == shape[:0:-1] else None
            size = file.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).partition("\n")[0]
        raise damaged(path, f"cannot be read ({reason})") from error
    if pixels is None:
        raise damaged(path, f"has {size[0]} x {size[1]} pixels in place of {shape[2]} x {shape[1]}")
    return torch.from_numpy(pixels).permute(2, 0, 1)


def damaged(path: Path, what: str) -> DataError:
    """As of other sets; nothing of this one is downloaded."""
    return files.damaged(path, what, _REMEDY)
