"""Wrong usages of the command line and of its files: one line, a status, what is wrong, what to do.

`python -m tests.test_wrong_usage_cli` prints them as a table.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bioplaus.cli import main
from bioplaus.records.store import Store
from tests.helpers.records import make_record
from tests.helpers.tiny import TINY

RUN = ["run", "--rule", "backprop"]
TUNE = ["tune", "--rule", "backprop", "--task", "tiny.toml", "--trials", "1", "--jobs", "1"]
SUITE = 'name = "mine"\nrules = ["backprop"]\ntasks = ["tiny.toml"]\nseeds = 1\n'


def file(name: str, text: str | bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    return make


def nothing(folder: Path) -> None:
    pass


def sqlite(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "photos.db")) as database, database:
        database.execute("create table photos (name text)")


def newer(folder: Path) -> None:
    path = Store(folder / "results").write(make_record())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2}))


def contradictory(folder: Path) -> None:
    path = Store(folder / "results").write(make_record())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test_accuracy": 0.75}))


def damaged(folder: Path) -> None:
    Store(folder / "there").write(make_record()).write_text("{")


def toy(folder: Path) -> None:
    Store(folder / "results").write(make_record())


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def link_to(folder: Path) -> None:
    (folder / "results").write_text("not a folder")


Usage = tuple[Callable[[Path], None], list[str], str, str]
"""What is there, what is typed, the name of what is wrong, and what to do."""

USAGES: dict[str, Usage] = {
    "no command of that name": (nothing, ["trian"], "trian", "--help"),
    "no rule": (nothing, ["run"], "--rule", "bioplaus list rules"),
    "a rule misspelt": (nothing, ["run", "--rule", "backprob"], "backprob", "did you mean"),
    "a task misspelt": (nothing, [*RUN, "--task", "mnist-squar"], "mnist-squar", "mnist-square"),
    "a task file that is not there": (
        nothing, [*RUN, "--task", "mine.toml"], "mine.toml", "No such file"),
    "a suite misspelt": (nothing, ["bench", "quik"], "quik", "did you mean quick"),
    "an option misspelt": (
        nothing, [*RUN, "--task", "digits-mlp", "--set", "mangitude=2"], "mangitude", "there are"),
    "a setting without a value": (nothing, [*RUN, "--set", "lr"], "'lr'", "write option=value"),
    "a setting twice": (
        nothing, [*RUN, "--set", "optimizer.lr=1", "--set", "optimizer.lr=2"], "optimizer.lr",
        "set twice"),
    "a setting of the wrong type": (
        nothing, [*RUN, "--set", "optimizer.lr=fast"], "fast", "a number is due"),
    "a section that is none": (
        nothing, [*RUN, "--set", "optimiser.lr=1"], "optimiser", "did you mean"),
    "no seeds": (nothing, [*RUN, "--seeds", "0"], "0:", "a seed alone is a range: 0-0"),
    "a date for a number of seeds": (
        nothing, [*RUN, "--seeds", "20231115"], "20231115", "between 1 and 10,000 seeds"),
    "thousands of millions of seeds": (
        nothing, [*RUN, "--seeds", "3000000000"], "3000000000", "between 1 and 10,000 seeds"),
    "a seed with five thousand digits": (
        nothing, [*RUN, "--seeds", "0," + "9" * 5000], "9999", "seeds go from 0 to 999,999"),
    "a seed of tunings": (
        nothing, [*RUN, "--seeds", "1000000-1000001"], "1000000", "seeds go from 0 to 999,999"),
    "a range of all numbers": (
        nothing, [*RUN, "--seeds", "0-999999"], "0-999999", "more than 10,000 seeds"),
    "seeds backwards": (nothing, [*RUN, "--seeds", "4-1"], "4-1", "runs backwards"),
    "seeds in words": (nothing, [*RUN, "--seeds", "five"], "five", "a list such as 0-4,7"),
    "no epochs": (nothing, [*RUN, "--epochs", "0"], "--epochs", "x>=1"),
    "a device that is not here": (nothing, [*RUN, "--device", "cuda:9"], "cuda:9", "CUDA devices"),
    "a device that is none": (nothing, [*RUN, "--device", "tpu"], "tpu", "choose auto, cpu"),
    "a precision that is none": (nothing, [*RUN, "--precision", "fp16"], "fp16", "'fp32'"),
    "tf32 on a CPU": (nothing, [*RUN, "--precision", "tf32", "--device", "cpu"], "tf32", "fp32"),
    "a rule that cannot train the task": (
        nothing, ["run", "--rule", "gaitprop", "--task", "digits-mlp"], "gaitprop",
        "bioplaus list tasks --rule gaitprop"),
    "a task file of one's own, broken": (
        file("mine.toml", "name ="), [*RUN, "--task", "mine.toml"], "mine.toml", "not valid TOML"),
    "a task file with a field too many": (
        file("mine.toml", TINY + "\ncolour = 1\n"), [*RUN, "--task", "mine.toml"], "colour",
        "mine.toml"),
    "a task file that is a pipe": (
        pipe, [*RUN, "--task", "pipe"], "pipe", "FILE.toml"),
    "results in a file": (
        link_to, [*RUN, "--task", "tiny.toml", "--seeds", "1"], "results", "--results DIR"),
    "a plugin that is no Python file": (
        file("rule.txt", ""), ["run", "--plugin", "rule.txt"], "rule.txt", "*.py"),
    "a plugin that is not there": (
        nothing, ["run", "--plugin", "rule.py"], "rule.py", "No such file"),
    "a plugin without a rule": (
        file("rule.py", "x = 1\n"), ["run", "--plugin", "rule.py"], "rule.py", "derive a class"),
    "a plugin that raises": (
        file("rule.py", "1 / 0\n"), ["run", "--plugin", "rule.py"], "ZeroDivisionError", "line 1"),
    "a report of nothing": (nothing, ["report"], "results", "--results DIR"),
    "a report of a rule that has no records": (
        toy, ["report", "--rule", "gaitprop"], "--rule gaitprop", "bioplaus run"),
    "a format that is none": (toy, ["report", "--format", "pdf"], "pdf", "'csv'"),
    "a report into a folder that is none": (
        toy, ["report", "-o", "results"], "results", "is a directory"),
    "only records of a newer bioplaus": (newer, ["report"], "no records", "bioplaus run"),
    "a report of damaged records elsewhere": (
        damaged, ["report", "--results", "there"], "no records in there", "--results there"),
    "only records that contradict themselves": (
        contradictory, ["report"], "no records", "bioplaus run"),
    "a comparison with a rule that is not there": (
        toy, ["compare", "gaitprop", "backprop"], "gaitprop", "backprop"),
    "nodes without a dry run": (
        file("s.toml", SUITE), ["bench", "s.toml", "--nodes", "2"], "--nodes", "add --dry-run"),
    "a cluster without Ray": (
        file("s.toml", SUITE), ["bench", "s.toml", "--address", "h:1"], "--address",
        "add --executor ray"),
    "a suite with a rule misspelt": (
        file("s.toml", SUITE.replace("backprop", "backprob")), ["bench", "s.toml"], "backprob",
        "did you mean"),
    "a suite with a field too many": (
        file("s.toml", SUITE + "sedes = 2\n"), ["bench", "s.toml"], "sedes", "s.toml"),
    "a suite of no seeds": (
        file("s.toml", SUITE.replace("seeds = 1", "seeds = 0")), ["bench", "s.toml"], "seeds",
        "between 1 and 10,000"),
    "a tuning without a validation split": (
        nothing, ["tune", "--rule", "backprop", "--task", "digits-square", "--set",
                  "task.validation=0"], "validation split", "--set task.validation=287"),
    "a storage of another program": (
        sqlite, [*TUNE, "--storage", "photos.db"], "photos.db", "write sqlite:///photos.db"),
    "a database of another program": (
        sqlite, [*TUNE, "--storage", "sqlite:///photos.db"], "photos.db",
        "name another with --storage"),
    "a storage that is a text": (
        file("notes.txt", "a\nb"), [*TUNE, "--storage", "notes.txt"], "notes.txt",
        "name another with --storage"),
    "a storage that cannot be reached": (
        nothing, [*TUNE, "--storage", "nosuch://me:hunter2@h/db"], "nosuch://me:***@h/db",
        "--storage"),
    "verify of nothing": (nothing, ["verify"], "PATH", "--help"),
    "verify of a file that is not there": (
        nothing, ["verify", "none.json"], "none.json", "bioplaus verify results"),
    "verify of a folder without records": (
        nothing, ["verify", "."], ".: there is no record in it", "TASK/RULE/CELL"),
    "verify of a text": (
        file("seed-0000.json", "text"), ["verify", "seed-0000.json"], "seed-0000.json",
        "delete it and run again"),
    "verify of a record by hand": (
        toy, ["verify", "results"], "seed-0000.json", "cannot be run"),
    "merge into one of the sources": (
        toy, ["merge", "results", "--into", "results"], "results", "name the others only"),
    "merge of a folder that is not there": (
        nothing, ["merge", "theirs", "--into", "all"], "theirs", "there is no results folder"),
    "a name of a new rule that is none": (
        nothing, ["new", "rule", "My Rule"], "My Rule", "as in my-rule"),
    "a new rule of a name that is taken": (
        nothing, ["new", "rule", "backprop"], "backprop", "choose another name"),
    "show of nothing known": (nothing, ["show", "gaitprob"], "gaitprob", "did you mean"),
    "speed of so many seeds": (
        nothing, ["speed", "--rule", "backprop", "--replicas", "0,4"], "0,4", "such as 1,4,16"),
    "a check that is none": (
        nothing, ["check", "backprop", "--only", "vamp"], "vamp", "did you mean"),
}  # fmt: skip


def call(folder: Path, name: str) -> Result:
    (folder / "tiny.toml").write_text(TINY)
    make, words, _, _ = USAGES[name]
    before = Path.cwd()
    os.chdir(folder)
    try:
        make(folder)
        return CliRunner().invoke(main, words)
    finally:
        os.chdir(before)


def said(result: Result) -> str:
    """The line that is meant: the last one on standard error."""
    return result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("name", USAGES)
def test_a_wrong_usage_is_one_line_that_says_what_to_do(name: str, tmp_path: Path) -> None:
    _, _, what, remedy = USAGES[name]
    done = call(tmp_path, name)
    assert done.exit_code in (1, 2), done.output
    assert isinstance(done.exception, SystemExit), "a traceback"
    assert "Traceback" not in done.output and "hunter2" not in done.output
    line = said(done)
    assert line.startswith("Error: ")
    assert what in line, line
    help_is_named = remedy == "--help" and "--help" in done.stderr
    assert remedy in line or help_is_named, line
    assert len(line) < 1000


def test_there_are_enough() -> None:
    assert len(USAGES) >= 25


if __name__ == "__main__":
    print("| what is wrong | typed | what is said |\n| :--- | :--- | :--- |")
    for each in USAGES:
        with tempfile.TemporaryDirectory() as scratch:
            line = said(call(Path(scratch), each)).replace("|", "\\|").replace(scratch, "")
        typed = " ".join(USAGES[each][1])
        print(f"| {each} | `{typed[:70]}` | {line} |")
