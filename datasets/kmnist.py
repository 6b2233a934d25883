"""Cursive Japanese characters, 28 x 28 grey, 60,000 + 10,000 (Clanuwat et al.)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from .idx import IdxDataset


class Kmnist(IdxDataset):
    """Cursive Japanese characters (Kuzushiji-MNIST), 28 x 28 grey, 60,000 + 10,000.

    Only sums of the compressed files are published, so recompressed copies are refused.

    Source: T. Clanuwat et al., "Deep learning for classical Japanese literature", 2018,
    https://arxiv.org/abs/1812.01718; the sums are those of `torchvision.datasets.KMNIST`.
    """

    name = "kmnist"
    torchvision_class = "KMNIST"
    gz_md5: ClassVar[Mapping[str, str]] = {
        "train-images": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels": "7320c461ea6c1c855c0b718fb2a4b134",
    }
