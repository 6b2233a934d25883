"""Every command that is printed to be copied does what it says, run as it is printed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from bioplaus.analysis.boards import boards
from bioplaus.cli import main
from bioplaus.cli.options import LARGEST_SEED, parse_seeds
from bioplaus.records.commands import run_again, seeds_word
from bioplaus.records.schema import Record
from bioplaus.records.store import Store
from bioplaus.reports.cell_measures import command
from bioplaus.system.shell import bioplaus, quoted

RULE = """
from bioplaus.rules.backprop import Backprop


class Twin(Backprop):
    \"\"\"Backprop under another name.\"\"\"

    name = "twin"
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def as_printed(text: str, *more: str) -> Result:
    """The command run as a shell would read it."""
    program, *words = shlex.split(text)
    assert program == "bioplaus"
    return call(*words, *more)


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def record_of(folder: str, rule: str) -> Record:
    (record,) = Store(folder).read_all(rules=[rule]).records
    return record


TUNE = ("--trials", "1", "--epochs", "1", "--jobs", "1", "--results", "r")


@pytest.mark.parametrize(
    "more",
    [
        ["--rule", "backprop", "--set", "optimizer.betas=[0.8, 0.9]"],
        ["--rule", "gaitprop", "--set", "inverse=refined", "--set", "ortho = 0.05"],
        ["--rule", "backprop", "--set", "task.batch_size=64"],
    ],
    ids=["a list with blanks", "text", "a task setting"],
)
def test_tunes_hint_runs(tiny: Path, more: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    own = tiny.with_name("my own task.toml")
    own.write_text(tiny.read_text().replace('name = "tiny"', 'name = "mine"'))
    done = call("tune", "--task", own.name, *more, *TUNE)
    assert done.exit_code == 0, done.output
    (hint,) = re.findall("^To train it: (.*)$", done.stdout, re.MULTILINE)
    trained = as_printed(hint, "--seeds", "1", "--epochs", "1", "--results", "r")
    assert trained.exit_code == 0, trained.output
    (tuning,) = Store("r").read_all().tunings
    assert tuning.rule == more[1]
    wanted = tuning.configuration
    record = record_of("r", more[1])
    for section in ("task", "options", "optimizer", "aux_optimizer"):
        assert record.configuration[section] == wanted[section]


def test_the_hint_of_a_rule_from_a_file_runs(tiny: Path) -> None:
    Path("my rule.py").write_text(RULE)
    done = call("tune", "--rule", "twin", "--plugin", "my rule.py", "--task", str(tiny), *TUNE)
    assert done.exit_code == 0, done.output
    (hint,) = re.findall("^To train it: (.*)$", done.stdout, re.MULTILINE)
    assert as_printed(hint, "--seeds", "1", "--epochs", "1", "--results", "r").exit_code == 0


@pytest.mark.parametrize(
    ("seeds", "more"),
    [
        ("0-0", []),
        ("1", ["--set", "optimizer.betas=[0.8, 0.9]"]),
        ("3-3", ["--precision", "fp64"]),
        ("0,2", ["--set", "task.batch_size=64"]),
    ],
)
def test_the_pages_command_makes_the_same_records(tiny: Path, seeds: str, more: list[str]) -> None:
    task = tiny.rename(tiny.with_name("it's mine.toml"))
    words = ["run", "--rule", "backprop", "--task", task.name, "--epochs", "1"]
    argv, sys.argv = sys.argv, ["bioplaus", *words]
    try:
        done = call(*words, "--seeds", seeds, *more, "--results", "a")
        assert done.exit_code == 0, done.output
        (cell,) = boards(Store("a").read_all())[0].cells
        again = as_printed(command(cell), "--results", "b")
    finally:
        sys.argv = argv
    assert again.exit_code == 0, again.output
    first, second = Store("a").read_all().records, Store("b").read_all().records
    assert [(r.key, r.curves) for r in first] == [(r.key, r.curves) for r in second]


def test_the_pages_command_of_a_rule_from_a_file_runs(tiny: Path) -> None:
    Path("rule.py").write_text(RULE)
    done = call("run", "--plugin", "rule.py", "--task", str(tiny), "--seeds", "1", "--results", "a")
    assert done.exit_code == 0, done.output
    record = record_of("a", "twin")
    words = ["run", "--task", str(tiny)]
    named = record.model_copy(update={"provenance": record.provenance | {"command": words}})
    again = as_printed(run_again([named]), "--results", "b")
    assert again.exit_code == 0, again.output
    assert record_of("b", "twin").key == record.key


def test_the_last_line_of_a_run_reports_its_folder(tiny: Path) -> None:
    done = call("run", "--rule", "backprop", "--task", str(tiny), "--seeds", "1", "--epochs", "1",
                "--results", "my results; $HOME")  # fmt: skip
    assert done.exit_code == 0, done.output
    (line,) = re.findall(r"\((bioplaus report .*)\)$", done.stderr, re.MULTILINE)
    assert "backprop" in as_printed(line).stdout


@pytest.mark.parametrize("kind", ["rule", "dataset", "task"])
def test_what_new_says_to_do_next_can_be_done(kind: str) -> None:
    done = call("new", kind, "my-thing", "--into", "a b")
    assert done.exit_code == 0, done.output
    cd, pip, *commands = [line.strip() for line in done.stderr.split("Next:\n")[1].splitlines()]
    where = subprocess.run(["sh", "-c", f"{cd} && pwd"], capture_output=True, text=True, check=True)
    assert where.stdout.strip() == os.path.realpath(Path("a b") / "my-thing")
    assert pip == "pip install -e ." and len(commands) == 2
    for line in commands:
        assert call(*shlex.split(line)[1:2], "--help").exit_code == 0


def test_the_hint_of_a_rule_that_cannot_train_a_task_runs() -> None:
    done = call("run", "--rule", "gaitprop", "--task", "digits-mlp", "--seeds", "1")
    assert done.exit_code == 1
    (line,) = re.findall("`(bioplaus list tasks .*?)`", done.stderr)
    assert "digits-square" in as_printed(line).stdout


@given(st.sets(st.integers(0, 40) | st.integers(0, LARGEST_SEED), min_size=1, max_size=20))
def test_the_seeds_of_a_command_are_those(seeds: set[int]) -> None:
    assert parse_seeds(seeds_word(seeds)) == sorted(seeds)


@given(st.lists(st.text(max_size=8).filter(str.isprintable), max_size=5))
def test_a_shell_reads_each_word_as_one(words: list[str]) -> None:
    assert shlex.split(quoted("x", *words)) == ["x", *words]


def test_a_command_is_one_line_and_holds_no_secret() -> None:
    line = bioplaus("run", "a\nb\x1b[31m", "postgresql://me:hunter2@h/db")
    assert line.isprintable() and "hunter2" not in line
