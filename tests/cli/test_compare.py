"""`bioplaus compare`: who is better, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bioplaus.cli import main
from bioplaus.records.store import Store
from tests.helpers.cells import GOOD, WORSE, cell


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("compare")
    for record in [
        *cell("a", GOOD), *cell("b", WORSE), *cell("a", WORSE, label="lr=1"),
        *cell("a", GOOD, task="more"), *cell("b", [*WORSE[:4], 0.1], task="more"),
    ]:  # fmt: skip
        Store(where).write(record)
    Store(where).write(cell("b", [0.5], first=7, task="more", diverged=True)[0])
    return where


def compare(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["compare", *arguments, "--results", str(folder)])


def test_compare_says_who_is_better(folder: Path) -> None:
    done = compare(folder, "a", "b", "--task", "toy")
    assert done.exit_code == 0, done.output
    assert "toy: a is better than b, by 4.1 to 5.9 points" in done.stdout
    assert "paired by seed (5)" in done.stdout
    both = compare(folder, "a", "b")
    assert "mean of these" in both.stdout
    assert "1 of 6 seeds diverged and count as accuracy 0" in both.stderr


def test_compare_takes_a_configuration(folder: Path) -> None:
    done = compare(folder, "a lr=1", "a", "--format", "json")
    (row,) = json.loads(done.stdout)
    assert row["difference"] == pytest.approx(-0.05)
    assert row["verdict"].startswith("a is better than a lr=1")


def test_compare_for_programs_and_documents(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(compare(folder, "a", "b", "--format", "csv").stdout)))
    assert [r["task"] for r in rows] == ["more", "toy"]
    assert float(rows[1]["probability_of_improvement"]) == 1.0
    text = compare(folder, "a", "b", "--format", "markdown").stdout
    assert text.count("\n| ") == 5 and "| toy | +5.00 |" in text


def test_a_label_cannot_steer_the_terminal(tmp_path: Path) -> None:
    wild = cell("a", GOOD, label="x\x1b[31m\ry")
    wild += cell("a", [0.5], first=9, label="x\x1b[31m\ry", diverged=True)
    for record in [*wild, *cell("b", WORSE)]:
        Store(tmp_path).write(record)
    for form in ("table", "markdown"):
        done = compare(tmp_path, "a", "b", "--format", form)
        assert done.exit_code == 0 and not set("\x1b\r") & set(done.output)


def test_compare_names_what_is_missing(folder: Path, tmp_path: Path) -> None:
    done = compare(folder, "nothing", "b")
    assert done.exit_code == 1 and "nothing" in done.stderr and "Traceback" not in done.stderr
    assert "no results folder" in compare(tmp_path / "x", "a", "b").stderr
