"""Output that cannot hold every character: nothing crashes, and what is shown can be read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bioplaus import tasks
from bioplaus.cli.narrow_output import HANDLER, take_any_text
from bioplaus.records.store import Store
from tests.helpers.command import BIOPLAUS
from tests.helpers.records import make_record


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("r")
    for seed in range(2):
        Store(folder).write(make_record(seed=seed))
    return folder


def command(encoding: str, *words: str) -> bytes:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "NO_COLOR": "1", "PYTHONUTF8": "0"}
    done = subprocess.run([BIOPLAUS, *words], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(encoding, "replace")
    return done.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1:strict", "cp437", "koi8-r"])
def test_a_table_is_shown_in_every_encoding(encoding: str, results: Path) -> None:
    text = command(encoding, "report", "--results", str(results))
    shown = text.decode(encoding.partition(":")[0])
    assert "backprop" in shown and "----" in shown.replace("─", "-") and "?" not in shown


def test_other_output_too(results: Path) -> None:
    for words in (["--help"], ["show", "gaitprop"], ["list", "rules"]):
        command("cp1252", *words)
    board = command("cp1252", "report", "--results", str(results), "--format", "markdown")
    assert "±".encode("cp1252") in board  # which this encoding has


def test_what_is_a_file_is_utf8_whatever_the_encoding(results: Path, tmp_path: Path) -> None:
    page = command("cp1252", "report", "--results", str(results), "--format", "html")
    assert 'charset="utf-8"' in page.decode("utf-8")
    assert command("utf-16", "show", "digits-mlp").decode("utf-8") == tasks.text("digits-mlp")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("─┼│", "-+|"), ("1 ± 2", "1 +/- 2"), ("90°", "90 deg"), ("règle", "regle"), ("≤", "<="),
     ("日", "\\u65e5"), ("\udcff", "\\udcff")],
)  # fmt: skip
def test_the_nearest_in_ascii(text: str, shown: str) -> None:
    take_any_text()
    assert text.encode("ascii", HANDLER).decode() == shown
