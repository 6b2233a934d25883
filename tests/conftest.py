"""What all tests share: a tiny task, and the real data where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

pytest_plugins = ["pytester"]

# the tests' products are small, and other programs may want the cores
torch.set_num_threads(1)

TINY = """
name = "tiny"
description = "two epochs of digits on a small square network"
dataset = "digits"
validation = 937
loss = "mse"
batch_size = 50
epochs = 2

[optimizer]
name = "adam"
lr = 1e-3

[network]
layers = [
    { type = "dense", units = 16, activation = "leaky_relu(0.1)" },
    { type = "dense", units = 16, activation = "leaky_relu(0.1)" },
]
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The file of a task that trains in a blink."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the real MNIST files, set as BIOPLAUS_DATA; skips where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "datasets"
    folder = Path(os.environ.get("BIOPLAUS_DATA", beside))
    if not (folder / "mnist" / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("needs MNIST: set BIOPLAUS_DATA to a folder with mnist/*.gz")
    monkeypatch.setenv("BIOPLAUS_DATA", str(folder))
    return folder
