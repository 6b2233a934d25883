"""A password that was typed is in no file, no line and no message."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bioplaus.benchmark.executor import JobError
from bioplaus.benchmark.jobs import CellJob, TrialJob
from bioplaus.cli import main
from bioplaus.records.store import Store
from bioplaus.running import logger

SECRET = "hunter2"
SUITE = 'name = "mine"\nrules = ["backprop"]\ntasks = ["tiny.toml"]\nseeds = 1\nepochs = 1\n'


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Result:
    words = [str(a) for a in arguments]
    monkeypatch.setattr(sys, "argv", ["bioplaus", *words])
    return CliRunner().invoke(main, words)


def nowhere_in(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_none_in_records_tunings_and_output(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///file:{tmp_path}/t.db?uri=true&password={SECRET}"
    words = ["--rule", "backprop", "--task", tiny, "--trials", 1, "--epochs", 1, "--jobs", 1]
    done = call(monkeypatch, "tune", *words, "--results", tmp_path / "r", "--storage", url)
    assert done.exit_code == 0, done.output
    suite = tiny.with_name("suite.toml")
    suite.write_text(SUITE + "[tuning]\ntrials = 1\n")
    done = call(monkeypatch, "bench", suite, "--jobs", 1, "--storage", url, "--results",
                tmp_path / "r")  # fmt: skip
    assert done.exit_code == 0 and SECRET not in done.output
    nowhere_in(tmp_path / "r")
    (tuning,) = Store(tmp_path / "r").read_all().tunings
    assert any("password=***" in word for word in tuning.provenance["command"])


@pytest.mark.parametrize(
    "words",
    [
        ["tune", "--rule", "backprop", "--storage", "nosuch://me:hunter2@h/db", "--trials", "1"],
        ["bench", "s.toml", "--address", "ray://me:hunter2@h:1"],
        ["bench", "s.toml", "--executor", "ray", "--address", "ray://me:hunter2@h:1"],
        ["run", "--rule", "postgresql://me:hunter2@h/db"],
        ["run", "--rule", "backprop", "--task", "https://me:hunter2@h/t.toml"],
        ["run", "--rule", "backprop", "--seeds", "token=hunter2"],
        ["run", "--rule", "backprop", "--set", "https://me:hunter2@h"],
        ["report", "--results", "ftp://me:hunter2@h/r"],
        ["verify", "ftp://me:hunter2@h/r"],
        ["merge", "ftp://me:hunter2@h/r", "--into", "x"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_none_in_an_error(tiny: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(tiny.parent)
    Path("s.toml").write_text(SUITE + "[tuning]\ntrials = 1\n")
    done = call(monkeypatch, *words)
    assert done.exit_code in (1, 2) and isinstance(done.exception, SystemExit)
    assert SECRET not in done.output


def test_none_in_a_failure_that_quotes_one(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, watch: object) -> None:
        raise JobError(f"connection to postgresql://me:{SECRET}@h/db was lost, token={SECRET}")

    for job in (CellJob, TrialJob):
        monkeypatch.setattr(job, "run", broken)
    from bioplaus.cli import workers
    from tests.helpers.inline import InlineExecutor

    monkeypatch.setattr(workers.Workers, "open", lambda self: InlineExecutor())
    for tuning in ("", "[tuning]\ntrials = 1\n"):
        (tiny.parent / "s.toml").write_text(SUITE + tuning)
        done = call(monkeypatch, "bench", tiny.parent / "s.toml", "--results", tmp_path / "r")
        assert done.exit_code == 1 and SECRET not in done.output
    assert Store(tmp_path / "r").read_all().failures
    nowhere_in(tmp_path / "r")


def test_none_in_the_line_that_says_where_a_log_is(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = [f"mlflow ui --backend-store-uri postgresql://me:{SECRET}@h/db"]
    monkeypatch.setattr(logger.Loggers, "where", property(lambda self: where))
    done = call(monkeypatch, "run", "--rule", "backprop", "--task", tiny, "--seeds", 1,
                "--epochs", 1, "--results", tmp_path / "r")  # fmt: skip
    assert done.exit_code == 0 and "Log: mlflow ui" in done.stderr
    assert SECRET not in done.output
