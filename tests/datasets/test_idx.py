"""The data sets: what they hold, where they are looked for, and how damage is reported."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import random
import socket
import struct
import sys
import tracemalloc
import urllib.error
from collections.abc import Callable, Mapping
from http.client import IncompleteRead
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import platformdirs
import pytest
import torch
import torchvision  # type: ignore[import-untyped,unused-ignore]
from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]

from bioplaus.datasets.digits import Digits
from bioplaus.datasets.fashion_mnist import FashionMnist
from bioplaus.datasets.idx import IdxDataset, parse_idx
from bioplaus.datasets.kmnist import Kmnist
from bioplaus.datasets.mnist import Mnist
from bioplaus.errors import DataError
from bioplaus.tasks.dataset import Split, SplitName

REAL = Path(os.environ.get("BIOPLAUS_DATA") or Path(__file__).parents[3] / "shared" / "datasets")
# Class counts of the publications; mean pixel of the training images in [0, 1], as widely used.
PUBLISHED = [
    (Mnist, "train", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 0.1307),
    (Mnist, "test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], None),
    (FashionMnist, "train", [6000] * 10, 0.2860),
    (FashionMnist, "test", [1000] * 10, None),
]
SPLITS: tuple[SplitName, SplitName] = ("train", "test")


def idx(shape: tuple[int, ...], values: bytes) -> bytes:
    """The IDX format as it is defined: magic number, big-endian sizes, bytes in row-major order."""
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + values


CONTENT = {
    "train-images-idx3-ubyte.gz": idx((5, 2, 3), bytes(range(100, 130))),
    "train-labels-idx1-ubyte.gz": idx((5,), bytes([3, 1, 4, 1, 5])),
    "t10k-images-idx3-ubyte.gz": idx((3, 2, 3), bytes(range(237, 255))),
    "t10k-labels-idx1-ubyte.gz": idx((3,), bytes([9, 2, 6])),
}
FILES = {name: gzip.compress(data, mtime=0) for name, data in CONTENT.items()}
IMAGES, LABELS = list(FILES)[:2]


def stem(name: str) -> str:
    return name.split("-idx")[0]


class Tiny(IdxDataset):
    """Five and three images of 2 x 3, known by the sums of their content."""

    name = "tiny"
    shape = (1, 2, 3)
    sizes: ClassVar[Mapping[SplitName, int]] = {"train": 5, "test": 3}
    sha256: ClassVar[Mapping[str, str]] = {
        stem(name): hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()
    }
    torchvision_class = "Tiny"


class TinyMd5(Tiny):
    """The same, known by the sums of its compressed files."""

    sha256: ClassVar[Mapping[str, str]] = {}
    gz_md5: ClassVar[Mapping[str, str]] = {
        stem(name): hashlib.md5(data).hexdigest() for name, data in FILES.items()
    }


class Downloads:
    """Stands in for torchvision's downloader: chatty, and failing where `fail` says."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.content = dict(FILES)
        self.before: Callable[[str], None] = lambda url: None

    def __call__(self, url: str, root: str, filename: str, md5: str) -> None:
        self.urls.append(url)
        print("Downloading", url)
        assert socket.getdefaulttimeout() is not None
        self.before(url)
        Path(root).mkdir(exist_ok=True)
        Path(root, filename).write_bytes(self.content[filename])


def offline(url: str) -> None:
    raise urllib.error.URLError("Name or service\nnot known")


@pytest.fixture(autouse=True)
def downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Downloads:
    """No test reaches the network or the user's own folders."""
    fake = Downloads()
    source = SimpleNamespace(mirrors=["a://x/", "b://y/"], resources=[(n, "") for n in FILES])
    monkeypatch.setattr("torchvision.datasets.utils.download_url", fake)
    monkeypatch.setattr(torchvision.datasets, "Tiny", source, raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda app: tmp_path / "cache" / app)
    monkeypatch.setattr(Tiny, "system_folder", tmp_path / "system" / "tiny")
    monkeypatch.setenv("BIOPLAUS_DATA", str(tmp_path / "data"))
    return fake


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """Where Tiny is looked for, in order."""
    cache = tmp_path / "cache" / "bioplaus" / "datasets" / "tiny"
    return [tmp_path / "data" / "tiny", cache, tmp_path / "system" / "tiny"]


def fill(folder: Path, **damage: bytes) -> Path:
    """Writes the four files; `damage` replaces those that a stem, with _ for -, names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(damage.get(stem(name).replace("-", "_"), data))
    return folder


def assert_tiny(split: Split) -> None:
    expected = torch.arange(100, 130, dtype=torch.uint8).reshape(5, 1, 2, 3)
    assert split.x.dtype == torch.uint8 and torch.equal(split.x, expected)
    assert split.y.dtype == torch.int64 and split.y.tolist() == [3, 1, 4, 1, 5]


def failure(dataset: IdxDataset, *parts: str | Path) -> None:
    """Loading fails with one line that holds all parts."""
    with pytest.raises(DataError) as caught:
        dataset.load("train")
    message = str(caught.value)
    assert "\n" not in message and "BIOPLAUS_DATA" in message
    assert all(str(part) in message for part in parts), message


@pytest.mark.parametrize(("cls", "split", "counts", "mean"), PUBLISHED)
def test_published_sets(
    cls: type[IdxDataset],
    split: SplitName,
    counts: list[int],
    mean: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not (REAL / cls.name).is_dir():
        pytest.skip(f"{REAL} holds no {cls.name}")
    monkeypatch.setenv("BIOPLAUS_DATA", str(REAL))
    data = cls().load(split)
    assert data.x.shape == (sum(counts), 1, 28, 28) and data.x.dtype == torch.uint8
    assert data.y.dtype == torch.int64 and data.y.bincount().tolist() == counts
    if mean is not None:
        scaled = data.x.sum(dtype=torch.int64).item() / data.x.numel() * cls.scale
        assert scaled == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("cls", [Mnist, FashionMnist, Kmnist])
def test_tables_name_the_four_files_that_torchvision_offers(cls: type[IdxDataset]) -> None:
    offered = dict(getattr(torchvision.datasets, cls.torchvision_class).resources)
    assert set(offered) == set(FILES)
    assert set(cls.sha256 or cls.gz_md5) == {stem(name) for name in FILES}
    assert all(offered[name] == cls.gz_md5.get(stem(name), offered[name]) for name in FILES)
    assert (cls.shape, cls.classes, cls.scale) == ((1, 28, 28), 10, 1 / 255)


def test_names() -> None:
    names = [cls.name for cls in (Digits, Mnist, FashionMnist, Kmnist)]
    assert names == ["digits", "mnist", "fashion-mnist", "kmnist"]


# Of each split in order, each example's 64 pixels and label as bytes: SHA-256, found with the
# sha256sum command for the ranks. It changes if scikit-learn's copy or the split ever does.
DIGITS_SHA256 = {
    "train": "aa18637838b3af9c8ba340c940c8f16637705145437f8cd819df29bd3b32935d",
    "test": "fd3c5f64bbe72c6d90347bcf57a35119c92b5cee02b1b50b3845a5c5df0fcc0d",
}


@pytest.mark.parametrize("split", SPLITS)
def test_digits_are_split_by_the_published_rule(split: SplitName) -> None:
    raw = load_digits()
    ranks = {hashlib.sha256(b"bioplaus digits %d" % i).hexdigest(): i for i in range(1797)}
    order = [ranks[rank] for rank in sorted(ranks)]
    expected = order[:360] if split == "test" else order[360:]
    data = Digits().load(split)
    assert data.x.shape == (len(expected), 1, 8, 8) and data.x.dtype == torch.uint8
    assert data.y.dtype == torch.int64
    assert (data.x.flatten(1).numpy() == raw.data[expected]).all()
    assert (data.y.numpy() == raw.target[expected]).all()
    rows = torch.cat([data.x.flatten(1), data.y.to(torch.uint8)[:, None]], dim=1)
    assert hashlib.sha256(rows.numpy().tobytes()).hexdigest() == DIGITS_SHA256[split]


def test_digits_are_whole_and_reproducible() -> None:
    train, test = (Digits().load(split) for split in SPLITS)
    assert (len(train), len(test)) == (1437, 360)
    counts = torch.cat([train.y, test.y]).bincount().tolist()
    assert counts == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # UCI's description
    assert int(train.x.max()) * Digits.scale == 1.0 and Digits.classes == 10
    assert Digits().load("train").checksum == train.checksum != test.checksum


def test_example_order_and_bytes_are_those_of_the_files(places: list[Path]) -> None:
    fill(places[0])
    assert_tiny(Tiny().load("train"))
    test = Tiny().load("test")
    assert test.x[2, 0].tolist() == [[249, 250, 251], [252, 253, 254]]
    assert test.y.tolist() == [9, 2, 6]


@pytest.mark.parametrize("first", range(3))
def test_places_are_tried_in_order(first: int, places: list[Path]) -> None:
    for place in places[first:]:
        fill(place)
    places[0].mkdir(parents=True, exist_ok=True)
    assert_tiny(Tiny().load("train"))
    fill(places[first], train_labels=b"damaged")
    failure(Tiny(), places[first] / LABELS)


def test_unset_or_empty_variable(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    fill(places[0], train_labels=b"damaged")
    fill(places[1])
    monkeypatch.setenv("BIOPLAUS_DATA", "")
    assert_tiny(Tiny().load("train"))
    monkeypatch.delenv("BIOPLAUS_DATA")
    assert_tiny(Tiny().load("train"))


@pytest.mark.parametrize("absent", FILES)
@pytest.mark.parametrize("place", range(3))
def test_three_of_four_files_are_an_error_not_a_reason_to_go_on(
    absent: str, place: int, places: list[Path], downloads: Downloads
) -> None:
    (fill(places[place]) / absent).unlink()
    for other in places[place + 1 :]:
        fill(other)
    failure(Tiny(), places[place], absent)
    assert not downloads.urls and not (places[place] / absent).exists()


@pytest.mark.parametrize("cls", [Tiny, TinyMd5])
@pytest.mark.parametrize("name", [IMAGES, LABELS])
def test_every_truncation_is_found(cls: type[Tiny], name: str, places: list[Path]) -> None:
    path = fill(places[0]) / name
    for length in range(len(FILES[name])):
        path.write_bytes(FILES[name][:length])
        failure(cls(), path)


@pytest.mark.parametrize("cls", [Tiny, TinyMd5])
@pytest.mark.parametrize("name", [IMAGES, LABELS])
def test_a_changed_byte_never_changes_the_result(
    cls: type[Tiny], name: str, places: list[Path]
) -> None:
    path = fill(places[0]) / name
    found = 0
    for position in range(len(FILES[name])):
        data = bytearray(FILES[name])
        data[position] ^= 1
        path.write_bytes(data)
        try:
            assert_tiny(cls().load("train"))
        except DataError as error:
            assert str(path) in str(error)
            found += 1
    # RFC 1952: neither "text" flag, time (4 bytes), level nor system bear on the content.
    assert len(FILES[name]) - found == (7 if cls is Tiny else 0)


BODY = bytes(range(100, 130))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\0\0\x0d\x03" + CONTENT[IMAGES][4:], "00000d03"),
        (b"\x08\x03\0\0" + CONTENT[IMAGES][4:], "08030000"),
        (idx((5, 6), BODY), "(5, 6)"),
        (idx((5, 3, 2), BODY), "(5, 3, 2)"),
        (idx((4, 2, 3), BODY[:24]), "(4, 2, 3)"),
        (idx((5, 2, 3), BODY[:29]), "29 values"),
        (idx((5, 2, 3), BODY + b"\0"), "more than the expected 46 bytes"),
        (idx((5, 2, 3), BODY[::-1]), "checksum"),
        (b"", "no IDX file"),
        (b"\0\0\x08\x03\0\0", "within its header"),
    ],
)
@pytest.mark.parametrize("cls", [Tiny, TinyMd5])
def test_wrong_content(cls: type[Tiny], content: bytes, what: str, places: list[Path]) -> None:
    folder = fill(places[0], train_images=gzip.compress(content, mtime=0))
    failure(cls(), folder / IMAGES, what)


@pytest.mark.parametrize(
    "garbage", [b"", b"\0" * 60, b"<html>no such file</html>", b"\x1f\x8b", CONTENT[IMAGES]]
)
def test_what_is_not_gzip(garbage: bytes, places: list[Path]) -> None:
    failure(Tiny(), fill(places[0], train_images=garbage) / IMAGES)


def test_an_oversized_stream_is_not_read_to_its_end(places: list[Path]) -> None:
    bomb = gzip.compress(bytes(1 << 26), compresslevel=1)
    folder = fill(places[0], train_images=bomb)
    tracemalloc.start()
    try:
        failure(Tiny(), folder / IMAGES, "more than")
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()


def test_parsing_arbitrary_bytes_gives_the_defined_tensor_or_a_data_error() -> None:
    rng = random.Random(0)
    parsed = 0
    for _ in range(5000):
        shape = tuple(rng.randrange(1, 4) for _ in range(rng.randrange(6)))
        data = bytearray(idx(shape, rng.randbytes(math.prod(shape) + rng.randrange(2))))
        for _ in range(rng.randrange(3)):
            data[rng.randrange(len(data))] = rng.choice([0, 1, 2, 8, 255, rng.randrange(256)])
        data = data[: rng.choice([None, rng.randrange(len(data))])]
        try:
            tensor = parse_idx(bytes(data), "some.gz")
        except DataError as error:
            assert "some.gz" in str(error)
        else:
            assert bytes(data) == idx(tuple(tensor.shape), bytes(tensor.flatten().tolist()))
            parsed += 1
    assert parsed > 100


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (0, *[2**32 - 1] * 3), (1,) * 5, (1,) * 255])
def test_shapes_that_are_not_taken(shape: tuple[int, ...]) -> None:
    for values in (b"", b"\0"):
        with pytest.raises(DataError, match=r"some\.gz"):
            parse_idx(idx(shape, values), "some.gz")


@pytest.mark.parametrize("cause", [urllib.error.URLError("no"), RuntimeError, IncompleteRead(b"")])
def test_download_goes_to_the_cache_once_and_says_nothing_on_stdout(
    cause: Exception | type[Exception],
    places: list[Path],
    downloads: Downloads,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def first_mirror_fails(url: str) -> None:
        if url.startswith("a:"):
            raise cause

    downloads.before = first_mirror_fails
    assert_tiny(Tiny().load("train"))
    assert downloads.urls == [mirror + name for name in FILES for mirror in ("a://x/", "b://y/")]
    assert os.listdir(places[1].parent) == ["tiny"] and set(os.listdir(places[1])) == set(FILES)
    assert len(Tiny().load("test")) == 3 and len(downloads.urls) == 8
    assert capsys.readouterr().out == "" and socket.getdefaulttimeout() is None
    assert not places[0].exists() and not places[2].exists()


@pytest.mark.parametrize("reached", range(4))
@pytest.mark.parametrize("cause", [KeyboardInterrupt, RuntimeError, TimeoutError, None])
def test_an_interrupted_or_spoilt_download_leaves_nothing(
    reached: int,
    cause: type[BaseException] | None,
    places: list[Path],
    downloads: Downloads,
) -> None:
    def stop(url: str) -> None:
        if cause and list(FILES)[reached] in url:
            raise cause

    downloads.before = stop
    if cause is None:
        downloads.content[list(FILES)[reached]] = b"<html>please log in</html>"
    with pytest.raises(KeyboardInterrupt if cause is KeyboardInterrupt else DataError):
        Tiny().load("train")
    assert os.listdir(places[1].parent) == []
    downloads.before, downloads.content = lambda url: None, FILES
    assert_tiny(Tiny().load("train"))


def test_no_network(
    places: list[Path], downloads: Downloads, capsys: pytest.CaptureFixture[str]
) -> None:
    downloads.before = offline
    failure(Tiny(), *places, "not known", "a://x/", "b://y/", "DIR/tiny", "BIOPLAUS_DATA=DIR")
    assert capsys.readouterr().out == ""


def test_no_torchvision(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    failure(Tiny(), *places, "torchvision", "DIR/tiny")


def test_a_cache_that_cannot_be_written(places: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the folder's place")
    failure(Tiny(), *places, "DIR/tiny")


def test_two_downloads_at_once(places: list[Path], downloads: Downloads) -> None:
    def other_finishes_first(url: str) -> None:
        fill(places[1])

    downloads.before = other_finishes_first
    assert_tiny(Tiny().load("train"))
    assert os.listdir(places[1].parent) == ["tiny"]


def test_an_empty_folder_in_the_cache_is_filled(places: list[Path]) -> None:
    places[1].mkdir(parents=True)
    assert_tiny(Tiny().load("train"))
    assert set(os.listdir(places[1])) == set(FILES)
