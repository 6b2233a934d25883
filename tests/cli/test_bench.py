"""`bioplaus bench` and `tune`: what they print, mistakes, and Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.benches import PLAIN, TUNED, suite_file
from tests.helpers.command import BIOPLAUS, call


def test_bench_and_tune_at_the_command_line(tiny: Path, tmp_path: Path) -> None:
    suite, results = str(suite_file(tiny, TUNED)), str(tmp_path / "r")
    dry = call("bench", suite, "--dry-run", "--results", results)
    assert dry.exit_code == 0, dry.output
    assert "backprop on tiny epochs=1: 2 trials, then 2 seeds; about " in dry.stdout
    assert "unknown" not in dry.stdout and not (tmp_path / "r").exists()
    done = call("bench", suite, "--results", results, "--jobs", "1", "--format", "csv")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 3 and "gaitprop" in done.stdout
    assert "each tuned with 2 trials of 1 seed" in done.stderr
    assert json.loads(next((tmp_path / "r").rglob("seed-0000.json")).read_text())["card"]
    again = call("bench", suite, "--results", results, "--jobs", "1")
    assert "4 of 4 records were there already." in again.stderr
    dry = call("bench", suite, "--dry-run", "--results", results)
    assert "Nothing is left to run." in dry.stdout
    tuned = call("tune", "--rule", "backprop", "--task", str(tiny), "--trials", "2",
                 "--epochs", "1", "--results", results, "--jobs", "1")  # fmt: skip
    assert tuned.exit_code == 0, tuned.output
    assert (
        "<- chosen" in tuned.stdout and "To train it: bioplaus run --rule backprop" in tuned.stdout
    )


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["bench", "quik"], 1, "unknown suite 'quik'; did you mean quick?"),
        (["bench", "no.toml"], 1, "cannot read the suite file no.toml"),
        (["bench", "quick", "--jobs", "0"], 2, "a number from 1 to 10,000, or auto"),
        (["bench", "quick", "--executor", "moon"], 2, "Invalid value for '--executor': 'moon'"),
        (["tune", "--rule", "bakprop"], 1, "did you mean backprop"),
        (["tune", "--rule", "backprop", "--task", "digits-square", "--set",
          "task.validation=0"], 1, "no validation split"),
        (["tune", "--rule", "backprop", "--storage", "nosuch://x"], 1, "cannot use the tuning"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(
    arguments: list[str], status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == status, done.output
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_ctrl_c_ends_a_benchmark_and_loses_nothing_that_was_done(
    tiny: Path, tmp_path: Path
) -> None:
    slow = '{ rule = "predictive-coding", set = { steps = 20000 } }'
    suite = suite_file(tiny, PLAIN.replace('"gaitprop"', slow))
    command = [BIOPLAUS, "bench", str(suite), "--jobs", "1",
               "--results", str(tmp_path / "r")]  # fmt: skip
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command,
        stderr=pipe,
        stdout=pipe,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 100
        while len(list(tmp_path.rglob("seed-*.json"))) < 2:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "Interrupted. What was finished is saved" in stderr
    assert {path.parts[-3] for path in tmp_path.rglob("seed-*.json")} == {"backprop"}
    assert not list(tmp_path.rglob(".claim*"))
