"""CIFAR-10's binary version, on small files of the real format."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import platformdirs
import pytest
import torch

from bioplaus.datasets.cifar10 import FOLDER, Cifar10
from bioplaus.errors import DataError
from tests.helpers.cifar_files import ARCHIVE, CONTENT, NAMES, RECORD, Tiny, pack


class Downloads:
    """Stands in for torchvision's downloader, and believes what it gets."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.content: bytes | Exception = ARCHIVE

    def __call__(self, url: str, root: str, filename: str, md5: str) -> None:
        self.urls.append(url)
        assert md5 == Tiny.archive_md5
        if isinstance(self.content, Exception):
            raise self.content
        Path(root, filename).write_bytes(self.content)


@pytest.fixture(autouse=True)
def downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Downloads:
    """No test reaches the network or the user's own folders."""
    fake = Downloads()
    monkeypatch.setattr("torchvision.datasets.utils.download_url", fake)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda app: tmp_path / "cache" / app)
    monkeypatch.setenv("BIOPLAUS_DATA", str(tmp_path / "data"))
    return fake


def fill(folder: Path, content: dict[str, bytes] | None = None) -> Path:
    folder.mkdir(parents=True)
    for name, data in (CONTENT if content is None else content).items():
        (folder / name).write_bytes(data)
    return folder


def assert_tiny() -> None:
    train, test = Tiny().load("train"), Tiny().load("test")
    assert train.x.shape == (10, 3, 32, 32) and train.x.dtype == torch.uint8
    assert test.x.shape == (2, 3, 32, 32)
    assert train.y.dtype == torch.int64
    assert train.y.tolist() == [0, 1, 3, 4, 6, 7, 9, 0, 2, 3] and test.y.tolist() == [5, 6]
    # file 2, record 1, blue, row 3, column 5
    assert int(train.x[5, 2, 3, 5]) == (2 * 80 + 2 * 7 + 1 + 3 * 32 + 5) % 256
    assert test.x[0].flatten().tolist() == list(CONTENT["test_batch.bin"][1:RECORD])


@pytest.mark.parametrize("folder", ["data/cifar10", f"data/cifar10/{FOLDER}"])
def test_files_in_the_real_format(folder: str, tmp_path: Path, downloads: Downloads) -> None:
    fill(tmp_path / folder)
    assert_tiny()
    assert not downloads.urls


def test_download_is_verified_unpacked_and_kept(tmp_path: Path, downloads: Downloads) -> None:
    assert_tiny()
    assert downloads.urls == ["a://x/cifar-10-binary.tar.gz"]
    cache = tmp_path / "cache" / "bioplaus" / "datasets"
    assert os.listdir(cache) == ["cifar10"]
    assert sorted(os.listdir(cache / "cifar10")) == NAMES


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (OSError("no route"), "no route"),
        (ARCHIVE[:-1], "wrong checksum"),
        (b"<html>please log in</html>", "wrong checksum"),
    ],
)
def test_a_spoilt_download_leaves_nothing(
    content: bytes | Exception, what: str, tmp_path: Path, downloads: Downloads
) -> None:
    downloads.content = content
    with pytest.raises(DataError, match=what) as caught:
        Tiny().load("train")
    assert "DIR/cifar10" in str(caught.value) and "\n" not in str(caught.value)
    assert os.listdir(tmp_path / "cache" / "bioplaus" / "datasets") == []


@pytest.mark.parametrize(
    "packed",
    [
        pack({name: CONTENT[name] for name in NAMES[:-1]}),
        pack(CONTENT | {"test_batch.bin": CONTENT["test_batch.bin"] + b"\0"}),
        pack(CONTENT | {"test_batch.bin": b"\x0a" + CONTENT["test_batch.bin"][1:]}),
        ARCHIVE[: len(ARCHIVE) // 2],
        b"no archive",
    ],
)
def test_an_archive_of_the_right_sum_with_wrong_content(
    packed: bytes, tmp_path: Path, downloads: Downloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tiny, "archive_md5", hashlib.md5(packed).hexdigest())
    monkeypatch.setattr(Tiny, "archive_sha256", hashlib.sha256(packed).hexdigest())
    downloads.content = packed
    with pytest.raises(DataError):
        Tiny().load("train")
    assert os.listdir(tmp_path / "cache" / "bioplaus" / "datasets") == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "holds 0 bytes in place of 6146"),
        (bytes(2 * RECORD - 1), "holds 6145 bytes"),
        (bytes(2 * RECORD + 1), "more than 6146 bytes"),
        (bytes(RECORD) + b"\x0a" + bytes(RECORD - 1), "labels beyond 9"),
    ],
)
def test_damaged_files_are_named(name: str, data: bytes, what: str, tmp_path: Path) -> None:
    folder = fill(tmp_path / "data" / "cifar10", CONTENT | {name: data})
    with pytest.raises(DataError, match=what) as caught:
        Tiny().load("test" if name.startswith("test") else "train")
    assert str(folder / name) in str(caught.value) and "BIOPLAUS_DATA" in str(caught.value)


def test_a_missing_file_is_an_error_not_a_reason_to_download(
    tmp_path: Path, downloads: Downloads
) -> None:
    folder = fill(tmp_path / "data" / "cifar10")
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_3\.bin"):
        Tiny().load("test")
    assert not downloads.urls


def test_published_sizes() -> None:
    assert (Cifar10.records, Cifar10.shape, Cifar10.classes) == (10_000, (3, 32, 32), 10)
    assert Cifar10.scale == 1 / 255
    assert [name for names in Cifar10.files.values() for name in names] == NAMES
