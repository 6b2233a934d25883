"""TOML in the encodings that editors and shells leave it in."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioplaus.benchmark.suite import read_suite
from bioplaus.errors import ConfigError
from bioplaus.system.toml_files import decoded, read_toml
from bioplaus.tasks.task import read_task
from tests.helpers.tiny import TINY

SUITE = 'name = "s"\nrules = ["backprop"]\ntasks = ["digits-mlp"]\nseeds = 1\n'


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le+", "utf-16-be+"]
)
def test_a_file_is_read_as_it_was_written(encoding: str, tmp_path: Path) -> None:
    mark = "\ufeff" if encoding.endswith("+") else ""
    for name, text, read in (("t", TINY, read_task), ("s", SUITE, read_suite)):
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
        plain = read(str(tmp_path / f"{name}.toml"))
        content = (mark + text.replace("\n", "\r\n")).encode(encoding.rstrip("+"))
        (tmp_path / f"{name}.toml").write_bytes(content)
        assert read(str(tmp_path / f"{name}.toml")) == plain


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\n\nx = '\xe9'\n", r"it is not UTF-8 \(byte 0xe9 in line 3\); save it as UTF-8"),
        ("x = 1".encode("utf-16-le"), r"it holds NUL characters, as UTF-16 does"),
        (b"\xff\xfex\0 ", r"it is no whole UTF-16-LE text"),
        (b"\xff\xfe\0\xd8", r"it is no whole UTF-16-LE text"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_file(
    content: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"cannot read the task file .*own.toml: {says}"):
        read_toml(tmp_path / "own.toml", "task file")


def test_line_ends_are_those_of_unix() -> None:
    assert decoded(b"a\r\nb") == "a\nb"


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "own.toml").write_text(TINY)
    assert read_task("~/own.toml").name == "tiny"
