"""N-MNIST on small archives of the real format: events of 40 bits, a file for each digit."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from bioplaus.datasets.nmnist import NMnist, events
from bioplaus.errors import DataError

Event = tuple[int, int, int, int]
"""Column, row, polarity and microsecond."""

FIVE: list[Event] = [(0, 0, 0, 0), (33, 32, 1, 31_499), (33, 33, 1, 31_500), (7, 12, 0, 314_999)]
SEVEN: list[Event] = [(20, 4, 1, 100_000), (21, 5, 1, 100_001), (9, 9, 0, 315_000)]
TWO: list[Event] = []


def packed(recording: Sequence[Event]) -> bytes:
    """By the published layout: bits 39-32 column, 31-24 row, 23 polarity, 22-0 time."""
    return b"".join(
        (x << 32 | y << 24 | p << 23 | t).to_bytes(5, "big") for x, y, p, t in recording
    )


def archive(members: dict[str, bytes]) -> bytes:
    """The same bytes at any time: tests are named by them, and each worker makes its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


TRAIN = archive({
    "Train/": b"", "Train/2/00010.bin": packed(TWO), "Train/5/00001.bin": packed(FIVE),
    "Train/7/00003.bin": packed(SEVEN), "__MACOSX/readme": b"",
})  # fmt: skip
TEST = archive({"Test/7/00001.bin": packed(SEVEN)})


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Tiny(NMnist):
    """Three digits and one."""

    sizes: ClassVar = {"train": 3, "test": 1}
    md5: ClassVar = {"train": md5(TRAIN), "test": md5(TEST)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where it is looked for first; the other tests' fixture keeps the network away."""
    made = tmp_path / "data" / "nmnist"
    made.mkdir(parents=True)
    (made / "train.zip").write_bytes(TRAIN)
    (made / "test.zip").write_bytes(TEST)
    return made


def test_events_become_frames_in_the_digits_order(folder: Path) -> None:
    train, test = Tiny().load("train"), Tiny().load("test")
    assert train.y.tolist() == [5, 7, 2] and test.y.tolist() == [7]
    assert train.x.shape == (3, 20, 17, 17) and train.x.dtype == torch.uint8
    # channel: twice the frame, and one more where it grew brighter; then row and column, halved
    five = [(0, 0, 0), (1, 16, 16), (3, 16, 16), (18, 6, 3)]
    seven = [(7, 2, 10)]  # both of its events; what comes after 315 ms is left out
    assert [tuple(at) for at in train.x[0].nonzero().tolist()] == five
    assert [tuple(at) for at in train.x[1].nonzero().tolist()] == seven
    assert not train.x[2].any() and test.x[0].equal(train.x[1])
    assert train.x.max() == 1


def test_a_train_of_ten_steps_is_the_channels_in_their_order(folder: Path) -> None:
    steps = Tiny().load("train").x.reshape(3, 10, 2, 17, 17)
    assert [tuple(at) for at in steps[1].nonzero().tolist()] == [(3, 1, 2, 10)]


def test_an_overflow_moves_the_clock_on_and_is_no_event() -> None:
    data = packed([(1, 2, 1, 5), (0, 240, 0, 0), (3, 4, 0, 6), (0, 240, 0, 0), (3, 4, 0, 7)])
    across, down, polarity, when = events(data)
    assert (across.tolist(), down.tolist()) == ([1, 3, 3], [2, 4, 4])
    assert polarity.tolist() == [1, 0, 0]
    assert when.tolist() == [5, 6 + 2**13, 7 + 2**14]


def test_events_are_those_that_tonic_reads(tmp_path: Path) -> None:
    tonic = pytest.importorskip("tonic.io", exc_type=ImportError)
    draw = np.random.default_rng(0)
    recording = [
        (int(x), int(y) if y < 34 else 240, int(p), int(t))
        for x, y, p, t in zip(
            draw.integers(0, 34, 500), draw.integers(0, 35, 500), draw.integers(0, 2, 500),
            np.sort(draw.integers(0, 2**23, 500)), strict=True,
        )
    ]  # fmt: skip
    path = tmp_path / "1.bin"
    path.write_bytes(packed(recording))
    kind = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
    theirs = tonic.read_mnist_file(str(path), dtype=kind)
    assert len(theirs) < 500  # some were overflows
    for name, ours in zip(("x", "y", "p", "t"), events(path.read_bytes()), strict=True):
        assert theirs[name].tolist() == ours.tolist()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (archive({"Test/7/1.bin": packed(SEVEN)[:-1]}), "7/1.bin: 14 bytes are no whole number"),
        (archive({"Test/7/1.bin": packed([(40, 1, 0, 0)])}), "events beyond 34 x 34 pixels"),
        (archive({}), "holds 0 recordings in place of 1"),
        (archive({"Test/7/1.bin": b"\0" * (2**20 + 5)}), "a recording of 1048581 bytes"),
        (TEST[:-30], "cannot be read"),
        (b"no zip", "cannot be read"),
    ],
)
def test_a_damaged_archive_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, said: str
) -> None:
    (folder / "test.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"test\.zip has the wrong checksum"):
        Tiny().load("test")
    monkeypatch.setattr(Tiny, "md5", {"train": md5(TRAIN), "test": md5(data)})
    with pytest.raises(DataError, match=said):
        Tiny().load("test")


def test_what_is_missing_is_downloaded_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def download(url: str, root: str, filename: str, md5: str) -> None:
        asked.append(url)
        data = TRAIN if filename == "train.zip" else TEST
        assert md5 == hashlib.md5(data).hexdigest()
        Path(root, filename).write_bytes(data)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    assert Tiny().load("test").y.tolist() == [7]
    assert asked == [NMnist.urls["train"], NMnist.urls["test"]]
    assert Tiny().load("train").y.tolist() == [5, 7, 2] and len(asked) == 2


def test_without_files_or_network_it_says_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", refuse)
    with pytest.raises(DataError, match=r"put train\.zip and test\.zip of https://www.*DIR/nmnist"):
        NMnist().load("test")
