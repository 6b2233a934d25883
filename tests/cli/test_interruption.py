"""SIGTERM and Ctrl-C at the command line: the conventional status, and what was done is kept."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bioplaus.training.checkpoint import read
from tests.helpers.command import BIOPLAUS


def test_sigterm_ends_a_run_with_the_conventional_status_and_it_goes_on(
    tiny: Path, tmp_path: Path
) -> None:
    command = [BIOPLAUS, "run", "--rule", "backprop", "--seeds", "1",
               "--epochs", "200", "--compile", "off", "--task", str(tiny),
               "--results", str(tmp_path / "r")]  # fmt: skip
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stderr=pipe, stdout=pipe, text=True)
    try:
        deadline = time.monotonic() + 100
        while not list(tmp_path.rglob(".checkpoint-*.pt")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143
    assert stderr.endswith(
        "Terminated. What was finished is saved; the same command goes on from there.\n"
    )
    assert not list(tmp_path.rglob("seed-*.json"))
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Traceback" not in again.stderr
    (path,) = tmp_path.rglob("seed-*.json")
    record = json.loads(path.read_text())
    assert (
        record["provenance"]["resumed_at_steps"] and len(record["curves"]["test_accuracy"]) == 200
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_benchmark_that_is_stopped_leaves_checkpoints_of_its_workers(
    number: signal.Signals, tiny: Path, tmp_path: Path
) -> None:
    """The workers end their step and write one; the same command goes on from them."""
    suite = tmp_path / "suite.toml"
    suite.write_text(
        f'name = "s"\nrules = ["backprop"]\nseeds = 1\nepochs = 2000\ntasks = ["{tiny}"]\n'
    )
    command = [BIOPLAUS, "bench", str(suite), "--jobs", "1",
               "--results", str(tmp_path / "r")]  # fmt: skip
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 100
        while not (found := list(tmp_path.rglob(".checkpoint-*.pt"))):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        before = {path.name for path in found}
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert "Traceback" not in stderr and "the same command goes on" in stderr
    (last,) = sorted(tmp_path.rglob(".checkpoint-*.pt"))[-1:]
    assert last.name not in before
    assert read(last) is not None
    assert not list(tmp_path.rglob(".claim*"))
