"""A rule that was edited while its version stayed: no cell holds results of both."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import Result

from bioplaus.plugins import registry
from bioplaus.running.edited_rules import agrees
from tests.helpers.command import call
from tests.helpers.records import make_record
from tests.helpers.strangers import RULE, install

MODULE = "edited_rule"


@pytest.fixture
def run(site: Path, tiny: Path, tmp_path: Path) -> Callable[..., Result]:
    """Trains the installed rule `mine`, for one epoch."""
    install(site, MODULE, RULE, f"mine = {MODULE}:Mine", "bioplaus.rules")
    forget()

    def trained(*more: str) -> Result:
        return call("run", "--rule", "mine", "--task", str(tiny), "--epochs", "1",
                    "--results", str(tmp_path / "r"), *more)  # fmt: skip

    return trained


def forget() -> None:
    """This process as one that has not imported the module."""
    sys.modules.pop(MODULE, None)
    registry._NOTED.pop(MODULE, None)


def edit(site: Path, old: str, new: str) -> None:
    """The module's file, for a process that has not imported it."""
    path = site / f"{MODULE}.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    forget()


def seeds(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("seed-*.json"))


EDIT = ("fwd.error\n", "fwd.error / 2\n")


def test_the_second_run_is_refused_and_nothing_is_mixed(
    run: Callable[..., Result], site: Path, tmp_path: Path
) -> None:
    assert run("--seeds", "2").exit_code == 0
    edit(site, *EDIT)
    for more in (("--seeds", "2"), ("--seeds", "4"), ("--seeds", "7-8"),
                 ("--seeds", "1", "--force")):  # fmt: skip
        done = run(*more)
        last = done.stderr.splitlines()[-1]
        assert done.exit_code == 1 and last.startswith("Error: "), done.output
        assert "the code of mine was changed" in last and "version is still 1" in last
        assert "raise `version`" in last and "--force" in last
        assert seeds(tmp_path / "r") == ["seed-0000.json", "seed-0001.json"]
    assert run("--seeds", "2", "--force").exit_code == 0
    now = sha256((site / f"{MODULE}.py").read_bytes()).hexdigest()
    for path in (tmp_path / "r").rglob("seed-*.json"):
        assert json.loads(path.read_text())["provenance"]["rule"]["sha256"] == now
    assert "2 records of 2 already in" in run("--seeds", "2").stderr


def test_a_raised_version_is_another_cell(
    run: Callable[..., Result], site: Path, tmp_path: Path
) -> None:
    assert run("--seeds", "1").exit_code == 0
    edit(site, '    name = "mine"\n', '    name = "mine"\n    version = 2\n')
    assert run("--seeds", "1").exit_code == 0
    assert len(seeds(tmp_path / "r")) == 2


def test_a_suite_is_refused_too(
    run: Callable[..., Result], site: Path, tiny: Path, tmp_path: Path
) -> None:
    assert run("--seeds", "1").exit_code == 0
    edit(site, *EDIT)
    suite = tmp_path / "s.toml"
    suite.write_text(f'name = "s"\nrules = ["mine"]\ntasks = ["{tiny}"]\nseeds = 2\nepochs = 1\n')
    command = ["bench", str(suite), "--jobs", "1", "--results", str(tmp_path / "r")]
    planned = call(*command, "--dry-run").stdout
    assert "mine on tiny epochs=1: will not run: the code of mine was changed" in planned
    done = call(*command)
    assert done.exit_code == 1 and "the code of mine was changed" in done.stderr
    assert seeds(tmp_path / "r") == ["seed-0000.json"]
    assert "`bioplaus bench` once that folder is gone" in done.stderr
    shutil.rmtree(next((tmp_path / "r").rglob("seed-*.json")).parent)
    assert call(*command).exit_code == 0
    assert seeds(tmp_path / "r") == ["seed-0000.json", "seed-0001.json"]


def test_what_ran_is_what_was_imported_whatever_becomes_of_the_file(
    run: Callable[..., Result], site: Path, tmp_path: Path
) -> None:
    before = sha256((site / f"{MODULE}.py").read_bytes()).hexdigest()
    registry.load("rule", "mine")
    (site / f"{MODULE}.py").write_text("raise SystemExit('another by now')")
    assert run("--seeds", "1").exit_code == 0
    (path,) = (tmp_path / "r").rglob("seed-*.json")
    assert json.loads(path.read_text())["provenance"]["rule"]["sha256"] == before


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        ({"source": "x 1", "sha256": "a"}, {"source": "x 1", "sha256": "a"}, True),
        ({"source": "x 1", "sha256": "a"}, {"source": "x 1", "sha256": "b"}, False),
        ({"source": "x 1", "sha256": "a"}, {"source": "x 2", "sha256": "b"}, False),
        ({"source": "bioplaus 1", "sha256": "a"}, {"source": "bioplaus 2", "sha256": "b"}, True),
        ({"source": "bioplaus 1", "sha256": "a"}, {"source": "bioplaus 1", "sha256": "b"}, False),
        ({"source": "x 1", "sha256": None}, {"source": "x 1", "sha256": "b"}, True),
        ({}, {"source": "x 1", "sha256": "b"}, True),
    ],
)
def test_one_source_or_a_release_that_raises_its_versions(
    then: dict[str, str], now: dict[str, str], same: bool
) -> None:
    record = make_record().model_copy(update={"provenance": {"rule": then}})
    assert agrees(record, now) is same
