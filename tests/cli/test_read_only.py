"""A folder that can only be read: what is there is used, and what is missing is an error."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import bioplaus
from bioplaus.cli import main
from bioplaus.errors import RecordError
from bioplaus.system import atomic_files

SUITE = """
name = "mine"
rules = ["backprop"]
tasks = ["tiny.toml"]
seeds = 1
epochs = 1
[tuning]
trials = 1
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that is mounted so; the tests may run as root, who minds no mode."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(atomic_files, "_written", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


def test_what_is_all_there_is_read(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = tiny.with_name("suite.toml")
    suite.write_text(SUITE)
    where = ["--results", tmp_path / "r"]
    commands = [
        ["run", "--rule", "backprop", "--task", tiny, "--seeds", 1, "--epochs", 1, *where],
        ["bench", suite, "--jobs", 1, *where],
        ["tune", "--rule", "backprop", "--task", tiny, "--trials", 1, "--epochs", 1, "--jobs", 1,
         *where],
    ]  # fmt: skip
    for command in commands:
        assert call(*command).exit_code == 0
    left_behind = next((tmp_path / "r").rglob("seed-0000.json")).with_name(".claim-0001")
    left_behind.write_text("of a process that was killed")
    read_only(monkeypatch)
    for command in commands:
        done = call(*command)
        assert done.exit_code == 0, done.output
        assert "backprop" in done.stdout
    settings = bioplaus.run("backprop", str(tiny), 1, epochs=1, results=tmp_path / "r")
    assert len(settings) == 1


def test_what_is_missing_is_one_line(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = tiny.with_name("suite.toml")
    suite.write_text(SUITE)
    read_only(monkeypatch)
    where = ["--results", tmp_path / "r", "--rule", "backprop", "--task", tiny]
    for command in (
        ["run", "--seeds", 1, *where],
        ["tune", "--trials", 1, "--jobs", 1, *where],
        ["bench", suite, "--jobs", 1, "--results", tmp_path / "r"],
    ):
        done = call(*command)
        assert done.exit_code == 1 and "Traceback" not in done.output
        last = done.stderr.splitlines()[-1]
        assert "cannot write to the results folder" in last and "--results DIR" in last
    with pytest.raises(RecordError, match="cannot write"):
        bioplaus.run("backprop", str(tiny), 1, results=tmp_path / "r")
