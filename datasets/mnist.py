"""Handwritten digits, 28 x 28 grey, 60,000 + 10,000 (LeCun et al.)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from .idx import IdxDataset


class Mnist(IdxDataset):
    """Handwritten digits, 28 x 28 grey, 60,000 + 10,000.

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to
    document recognition", Proceedings of the IEEE 86(11), 1998, https://doi.org/10.1109/5.726791.
    """

    name = "mnist"
    torchvision_class = "MNIST"
    sha256: ClassVar[Mapping[str, str]] = {
        "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
