"""What `--seeds` takes is checked before anything of its size is made."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import pytest

from bioplaus.cli.options import CountsType, NumberType, parse_seeds


@pytest.mark.parametrize(
    "text",
    ["20231115", "3000000000", "9" * 5000, "0-3000000000", "0," + "7" * 5000, "0-999999",
     ",".join(f"{i}0000-{i}9998" for i in range(99)), "1000000"],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_too_many_are_refused_at_once(text: str) -> None:
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ValueError, match="seeds"):
        parse_seeds(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20 and time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("1", [0]), ("0-0", [0]), ("7-7", [7]), ("3,1,1", [1, 3]), ("0-2, 9", [0, 1, 2, 9]),
     ("00003", [0, 1, 2]), ("999999-999999", [999_999])],
)  # fmt: skip
def test_what_they_mean(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


def test_ten_thousand_are_the_most() -> None:
    assert len(parse_seeds("10000")) == len(parse_seeds("1-10000")) == 10_000
    for text in ("10001", "0-10000", "0-9999,20000"):
        with pytest.raises(ValueError, match="10,000"):
            parse_seeds(text)


@pytest.mark.parametrize("text", ["", ",", "-1", "1-", "0x3", "1e3", "1.5", "²", "٣-٤", "a"])
def test_what_is_no_number_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="a list such as 0-4,7"):
        parse_seeds(text)


@pytest.mark.parametrize("convert", [NumberType().convert, CountsType().convert])
@pytest.mark.parametrize("text", ["0", "10001", "9" * 5000, "-1", "x"])
def test_other_numbers_are_bounded_too(convert: Callable[..., object], text: str) -> None:
    import click

    with pytest.raises(click.BadParameter):
        convert(text, None, None)
