"""CIFAR-100, SVHN, EMNIST and Tiny ImageNet, on small files of the real formats."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from bioplaus.datasets.cifar100 import Cifar100
from bioplaus.datasets.emnist import ARCHIVE, Emnist, EmnistLetters
from bioplaus.datasets.svhn import Svhn
from bioplaus.datasets.tiny_imagenet import FOLDER, TinyImageNet
from bioplaus.errors import DataError
from bioplaus.tasks.dataset import SplitName
from bioplaus.tasks.door import load_dataset
from tests.helpers.idx_files import idx

SIZES: Mapping[SplitName, int] = {"train": 3, "test": 2}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Served:
    """What a download of each address gives; it counts, and believes what it serves."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.urls: list[str] = []

    def __call__(self, url: str, root: str, filename: str, md5: str) -> None:
        self.urls.append(url)
        Path(root, filename).write_bytes(self.content[filename])


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    fake = Served()
    monkeypatch.setattr("torchvision.datasets.utils.download_url", fake)
    return fake


def cifar100(count: int, first: int) -> bytes:
    """Records of a coarse label, a fine one, and three planes, each of one value."""
    records = [
        bytes([19, first + i]) + bytes([i]) * 1024 + bytes([50 + i]) * 1024 + bytes([99]) * 1024
        for i in range(count)
    ]
    return b"".join(records)


HUNDRED = {"train.bin": cifar100(3, 90), "test.bin": cifar100(2, 7)}


class TinyHundred(Cifar100):
    sizes: ClassVar[Mapping[SplitName, int]] = SIZES
    sha256: ClassVar[Mapping[str, str]] = {n: sha256(data) for n, data in HUNDRED.items()}


def test_cifar100_has_the_fine_labels(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cifar100" / "cifar-100-binary"
    folder.mkdir(parents=True)
    for name, data in HUNDRED.items():
        (folder / name).write_bytes(data)
    train, test = TinyHundred().load("train"), TinyHundred().load("test")
    assert train.y.tolist() == [90, 91, 92] and test.y.tolist() == [7, 8]
    assert train.x.shape == (3, 3, 32, 32)
    assert train.x[2].float().mean((1, 2)).tolist() == [2, 52, 99]
    altered = bytearray(HUNDRED["test.bin"])
    altered[-1] ^= 1
    (folder / "test.bin").write_bytes(altered)
    with pytest.raises(DataError, match="wrong checksum"):
        TinyHundred().load("test")


def test_the_archive_of_cifar100_is_unpacked(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in HUNDRED.items():
            info = tarfile.TarInfo(f"cifar-100-binary/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    served.content["cifar-100-binary.tar.gz"] = packed.getvalue()
    with pytest.raises(DataError, match="wrong checksum"):
        TinyHundred().load("train")
    monkeypatch.setattr(TinyHundred, "archive_sha256", sha256(packed.getvalue()))
    assert TinyHundred().load("train").y.tolist() == [90, 91, 92]
    assert len(served.urls) == 2


def mat(labels: list[int], folder: Path) -> bytes:
    """As Stanford's: X (32, 32, 3, N), y (N, 1) from 1 to 10, ten for the digit 0."""
    x = np.zeros((32, 32, 3, len(labels)), np.uint8)
    x[5, 9, 1, :] = labels
    savemat(str(folder / "made.mat"), {"X": x, "y": np.array(labels, np.uint8)[:, None]})
    return (folder / "made.mat").read_bytes()


def test_svhn_calls_the_digit_0_class_0(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.content = {
        "train_32x32.mat": mat([10, 1, 9], tmp_path),
        "test_32x32.mat": mat([2, 10], tmp_path),
    }
    sums = {name: sha256(data) for name, data in served.content.items()}
    with pytest.raises(DataError, match="wrong checksum"):
        Svhn().load("train")
    monkeypatch.setattr(Svhn, "sha256", sums)
    train, test = Svhn().load("train"), Svhn().load("test")
    assert train.y.tolist() == [0, 1, 9] and test.y.tolist() == [2, 0]
    assert train.x.shape == (3, 3, 32, 32) and train.x.dtype == torch.uint8
    assert train.x[:, 1, 5, 9].tolist() == [10, 1, 9] and int(train.x.sum()) == 20


def emnist_files(which: str, first: int) -> dict[str, bytes]:
    """Images that lie on their side: value 10 * column + row, as they are to be read."""
    found = {}
    for split, size in SIZES.items():
        image = bytes((10 * i + j) % 256 for i in range(28) for j in range(28))
        images, labels = (
            idx((size, 28, 28), image * size),
            idx((size,), bytes(range(first, first + size))),
        )
        found[f"emnist-{which}-{split}-images-idx3-ubyte.gz"] = gzip.compress(images)
        found[f"emnist-{which}-{split}-labels-idx1-ubyte.gz"] = gzip.compress(labels)
    return found


def test_emnist_stands_upright_and_both_splits_are_one_download(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in {**emnist_files("balanced", 44), **emnist_files("letters", 1)}.items():
            archive.writestr(f"gzip/{name}", data)
    served.content[ARCHIVE] = packed.getvalue()
    for cls in (Emnist, EmnistLetters):
        monkeypatch.setattr(cls, "sizes", SIZES)
    with pytest.raises(DataError, match="wrong checksum"):
        Emnist().load("train")
    monkeypatch.setattr(Emnist, "archive_sha256", sha256(packed.getvalue()))
    balanced, letters = Emnist().load("train"), EmnistLetters().load("test")
    assert len(served.urls) == 2, "the second split is there already"
    assert balanced.y.tolist() == [44, 45, 46] and letters.y.tolist() == [0, 1]
    # stored as 10 i + j, the transpose has 10 column + row
    assert int(balanced.x[0, 0, 3, 7]) == 73 and int(letters.x[1, 0, 7, 3]) == 37


CLASSES = ["n02", "n01", "n03"]
COLOURS = {"n02": (200, 30, 30), "n01": (30, 200, 30), "n03": (90, 90, 90)}


class TinyTiny(TinyImageNet):
    """Three classes, two pictures each, and two to be told."""

    classes = 3
    sizes: ClassVar[Mapping[SplitName, int]] = {"train": 6, "test": 2}


def jpeg(name: str) -> bytes:
    """A plain picture; of the third class a grey one, with a single channel."""
    mode, colour = ("L", COLOURS[name][0]) if name == "n03" else ("RGB", COLOURS[name])
    file = io.BytesIO()
    Image.new(mode, (64, 64), colour).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "data" / "tiny-imagenet" / FOLDER
    for name in CLASSES:
        images = found / "train" / name / "images"
        images.mkdir(parents=True)
        for i in range(2):
            (images / f"{name}_{i}.JPEG").write_bytes(jpeg(name))
    (found / "wnids.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    (found / "val" / "images").mkdir(parents=True)
    (found / "val" / "images" / "val_0.JPEG").write_bytes(jpeg("n03"))
    (found / "val" / "images" / "val_1.JPEG").write_bytes(jpeg("n01"))
    lines = "val_0.JPEG\tn03\t0\t0\t9\t9\nval_1.JPEG\tn01\t1\t2\t3\t4\n"
    (found / "val" / "val_annotations.txt").write_text(lines)
    return found


def test_tiny_imagenet_is_read_from_its_folder(folder: Path) -> None:
    train, test = TinyTiny().load("train"), TinyTiny().load("test")
    assert train.y.tolist() == [0, 0, 1, 1, 2, 2] and test.y.tolist() == [2, 1]
    assert train.x.shape == (6, 3, 64, 64) and train.x.dtype == torch.uint8
    for image, label in zip(train.x, train.y, strict=True):
        due = torch.tensor(COLOURS[CLASSES[int(label)]], dtype=torch.float64)
        assert (image.double() - due[:, None, None]).abs().max() <= 3


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train/n01/images/n01_1.JPEG", None, "has 5 pictures for the train split, of 6"),
        ("train/n01/images/n01_1.JPEG", b"no picture", "cannot be read"),
        ("train/n01/images/n01_1.JPEG", jpeg("n01")[:-400], "cannot be read"),
        ("wnids.txt", b"n01\nn01\nn02\n", "does not name 3 classes"),
        ("wnids.txt", b"n01\n../..\nn02\n", "does not name 3 classes"),
        ("val/val_annotations.txt", b"val_0.JPEG\tn09\n", "the class of every picture"),
        ("val/val_annotations.txt", b"../x.JPEG\tn01\n", "the class of every picture"),
        ("val/val_annotations.txt", b"gone.JPEG\tn01\nval_1.JPEG\tn01\n", "cannot be read"),
    ],
)
def test_a_damaged_folder_is_named(
    folder: Path, name: str, content: bytes | None, words: str
) -> None:
    path = folder / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        TinyTiny().load("test" if name.startswith("val") else "train")
    assert str(folder) in str(caught.value)


def test_without_a_folder_it_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"unpack tiny-imagenet-200\.zip into DIR/tiny-imagenet"):
        TinyImageNet().load("train")


@pytest.mark.parametrize(
    ("name", "shape", "classes", "train", "test"),
    [
        ("cifar100", (3, 32, 32), 100, 50_000, 10_000),
        ("svhn", (3, 32, 32), 10, 73_257, 26_032),
        ("emnist", (1, 28, 28), 47, 112_800, 18_800),
        ("emnist-letters", (1, 28, 28), 26, 124_800, 20_800),
        ("tiny-imagenet", (3, 64, 64), 200, 100_000, 10_000),
    ],
)
def test_published_sizes(
    name: str, shape: tuple[int, ...], classes: int, train: int, test: int
) -> None:
    dataset = load_dataset(name)
    assert (dataset.shape, dataset.classes) == (shape, classes)
    assert dict(dataset.sizes) == {"train": train, "test": test}
