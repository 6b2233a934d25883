"""Articles of clothing, 28 x 28 grey, 60,000 + 10,000 (Xiao et al.)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from .idx import IdxDataset


class FashionMnist(IdxDataset):
    """Articles of clothing, 28 x 28 grey, 60,000 + 10,000; also Debian's dataset-fashion-mnist.

    Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for
    benchmarking machine learning algorithms", 2017, https://arxiv.org/abs/1708.07747.
    """

    name = "fashion-mnist"
    torchvision_class = "FashionMNIST"
    system_folder = Path("/usr/share/datasets/fashion-mnist")
    sha256: ClassVar[Mapping[str, str]] = {
        "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    }
