"""`bioplaus new`: names, nothing written over, and from there to a row in the report."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from bioplaus.errors import BioplausError, ConfigError
from bioplaus.plugins import registry
from bioplaus.scaffold import KINDS, write_package


@pytest.mark.parametrize("name", ["My", "my_rule", "-a", "a--b", "a/b", "", "x" * 61])
def test_a_bad_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no name for a rule"):
        write_package("rule", name, tmp_path)


@pytest.mark.parametrize(
    ("kind", "name"), [("rule", "backprop"), ("dataset", "digits"), ("task", "digits-mlp")]
)
def test_a_name_that_is_taken_is_refused(kind: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="already: choose another name"):
        write_package(kind, name, tmp_path)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    write_package("rule", "mine", tmp_path)
    with pytest.raises(ConfigError, match="is there already"):
        write_package("dataset", "mine", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(BioplausError, match="cannot write"):
        write_package("rule", "mine", tmp_path / "file")


def commands(readme: Path) -> list[str]:
    """The commands of a written README's first sh block."""
    return readme.read_text().split("```sh\n")[1].split("```")[0].splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_from_new_to_a_row_of_the_report(
    kind: str, fresh: Callable[[str, Path], str], tmp_path: Path
) -> None:
    """The commands of the README that `bioplaus new` writes, as they stand there."""
    name = f"my-{kind}"
    fresh(f"bioplaus new {kind} {name}", tmp_path)
    package = tmp_path / name
    seen = {}
    for command in commands(package / "README.md"):
        if command.startswith("bioplaus run"):
            command += " --seeds 1 --epochs 1"
        seen[shlex.split(command)[1]] = fresh(command, package)
    assert f"{name}\t" in seen["list"] and f"bioplaus-{name} 0.1.0" in seen["list"]
    if kind == "rule":
        assert f"# {name}: passed" in seen["check"]
        listed = fresh("bioplaus show my-rule", package)
        assert "backprop with every error halved" in listed
    text = fresh("bioplaus report --format csv", package)
    rows = list(csv.DictReader(io.StringIO(text)))
    found = {(row["rule"], row["task"]) for row in rows}
    expected = {
        "rule": {("my-rule", "digits-square"), ("backprop", "digits-square")},
        "dataset": {("backprop", "my-dataset-mlp")},
        "task": {("backprop", "my-task")},
    }
    assert found == expected[kind]
    if "html" in registry.names("report"):
        fresh("bioplaus report --format html -o board.html", package)
        board = (package / "board.html").read_text()
        assert all(rule in board for rule, _ in found)
    tests = fresh(
        "python -m pytest -q -p no:cacheprovider -k 'purity or splits or network'", package
    )
    assert "passed" in tests and "failed" not in tests
