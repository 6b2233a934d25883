"""Where the files of a data set are looked for, and how they are downloaded."""

from __future__ import annotations

import os
import socket
import sys
import urllib.error
from http.client import IncompleteRead
from pathlib import Path

import pytest

from bioplaus.errors import DataError
from tests.helpers.idx_files import (
    FILES,
    LABELS,
    Downloads,
    Tiny,
    assert_tiny,
    failure,
    fill,
    offline,
)


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
