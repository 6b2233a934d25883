"""The IDX format: what files mean, and how damage is reported."""

from __future__ import annotations

import gzip
import math
import random
import tracemalloc
from pathlib import Path

import pytest

from bioplaus.datasets.idx import parse_idx
from bioplaus.errors import DataError
from tests.helpers.idx_files import (
    CONTENT,
    FILES,
    IMAGES,
    LABELS,
    Tiny,
    TinyMd5,
    assert_tiny,
    failure,
    fill,
    idx,
)


def test_example_order_and_bytes_are_those_of_the_files(places: list[Path]) -> None:
    fill(places[0])
    assert_tiny(Tiny().load("train"))
    test = Tiny().load("test")
    assert test.x[2, 0].tolist() == [[249, 250, 251], [252, 253, 254]]
    assert test.y.tolist() == [9, 2, 6]


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
