"""`bioplaus compare`: who is better, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import scipy.stats
from click.testing import CliRunner, Result

from bioplaus.cli import main
from bioplaus.records.store import Store
from tests.helpers.boards import GOOD, WORSE, make_cell


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("compare")
    for record in [
        *make_cell("a", GOOD), *make_cell("b", WORSE), *make_cell("a", WORSE, label="lr=1"),
        *make_cell("a", GOOD, task="more"), *make_cell("b", [*WORSE[:4], 0.1], task="more"),
    ]:  # fmt: skip
        Store(where).write(record)
    Store(where).write(make_cell("b", [None], first=7, task="more")[0])
    return where


def welch(a: list[float], b: list[float]) -> tuple[float, float]:
    """scipy's 95 % interval of the difference, in points."""
    found = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return 100 * found.low, 100 * found.high


def compare(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["compare", *arguments, "--results", str(folder)])


def test_compare_says_who_is_better(folder: Path) -> None:
    done = compare(folder, "a", "b", "--task", "toy")
    assert done.exit_code == 0, done.output
    low, high = welch(GOOD, WORSE)
    assert f"toy: a is better than b, by {low:.1f} to {high:.1f} points" in done.stdout
    assert "unpaired (Welch)" in done.stdout
    both = compare(folder, "a", "b")
    assert "mean of these" in both.stdout
    assert "1 of 6 seeds diverged and are not in the mean" in both.stderr


def test_compare_takes_a_configuration(folder: Path) -> None:
    done = compare(folder, "a lr=1", "a", "--format", "json")
    (row,) = json.loads(done.stdout)
    assert row["difference"] == pytest.approx(-0.05)
    assert row["verdict"].startswith("a is better than a lr=1")


def test_compare_for_programs_and_documents(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(compare(folder, "a", "b", "--format", "csv").stdout)))
    assert [r["task"] for r in rows] == ["more", "toy", "mean of these"]
    assert float(rows[1]["probability_of_improvement"]) == 1.0
    assert float(rows[1]["p_value"]) <= float(rows[1]["p_value_adjusted"])
    mean = [float(r["difference"]) for r in rows]
    assert mean[2] == pytest.approx((mean[0] + mean[1]) / 2), "the pooled row is there too"
    assert json.loads(compare(folder, "a", "b", "--format", "json").stdout)[2]["difference"]
    text = compare(folder, "a", "b", "--format", "markdown").stdout
    assert text.count("\n| ") == 5 and "| toy | +5.00 |" in text


def test_a_label_cannot_steer_the_terminal(tmp_path: Path) -> None:
    wild = make_cell("a", GOOD, label="x\x1b[31m\ry")
    wild += make_cell("a", [None], first=9, label="x\x1b[31m\ry")
    for record in [*wild, *make_cell("b", WORSE)]:
        Store(tmp_path).write(record)
    for form in ("table", "markdown"):
        done = compare(tmp_path, "a", "b", "--format", form)
        assert done.exit_code == 0 and not set("\x1b\r") & set(done.output)


def test_compare_names_what_is_missing(folder: Path, tmp_path: Path) -> None:
    done = compare(folder, "nothing", "b")
    assert done.exit_code == 1 and "nothing" in done.stderr and "Traceback" not in done.stderr
    assert "no results folder" in compare(tmp_path / "x", "a", "b").stderr
