"""Checkpoints: a training that was stopped ends as if it had not been."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bioplaus.experiments.experiment import plan
from bioplaus.records.schema import Record
from bioplaus.records.store import Store
from bioplaus.running.run import Results, run_experiments
from bioplaus.system.interruption import Interruption, Terminated, handled
from bioplaus.training import checkpoint
from bioplaus.training.checkpoint import Checkpoints, Tensors, read
from bioplaus.training.execution import Execution
from bioplaus.training.trainer import Trainer
from tests.helpers.command import BIOPLAUS

CPU = torch.device("cpu")
SEEDS = [0, 3]


def at(step: int) -> Tensors:
    return {"step": torch.tensor(step), "weights": torch.full((3,), float(step))}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_are_kept_and_a_damaged_one_falls_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {"a": 1})
    assert checkpoints.latest() is None
    for step in (1, 2, 10):
        checkpoints.save(at(step))
    assert len(files(tmp_path)) == 2
    found = checkpoints.latest()
    assert found is not None and found["weights"].tolist() == [10.0] * 3
    last = tmp_path / files(tmp_path)[-1]
    content = last.read_bytes()
    for damaged in (content[:-1], content[:50], b"", content[:99] + b"?" + content[100:]):
        last.write_bytes(damaged)
        assert read(last) is None
    found = checkpoints.latest()
    assert found is not None and found["step"] == 2
    assert not last.exists()


def test_checkpoints_of_another_training_are_not_taken(tmp_path: Path) -> None:
    Checkpoints(tmp_path, {"seeds": [0, 1]}).save(at(1))
    assert Checkpoints(tmp_path, {"seeds": [0]}).latest() is None


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("evil",)


def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save({"step": torch.tensor(1), "evil": Evil()}, buffer)
    path = tmp_path / "planted.pt"
    path.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())
    assert read(path) is None
    assert files(tmp_path) == ["planted.pt"]


def test_writing_takes_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write of one second: none at the end of an epoch for 20 s, none within one for 60 s."""
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path, {})
    assert checkpoints.due(epoch_ended=True) and not checkpoints.due(epoch_ended=False)
    monkeypatch.setattr(checkpoints, "_write", lambda tensors: now.__setitem__(0, now[0] + 1.0))
    checkpoints.save(at(1))
    for passed, ended, within in ((19.9, False, False), (20.1, True, False), (60.1, True, True)):
        now[0] = 1.0 + passed
        assert (checkpoints.due(True), checkpoints.due(False)) == (ended, within)


# -- whole runs ----------------------------------------------------------------------------------

RULES = ["backprop", "gaitprop", "weight-mirror", "targetprop", "equilibrium-propagation"]
"""Among them rules with memory, auxiliary parameters and optimizers, noise, and a sweep of
several phases."""
NO_FACTS = ("timing", "provenance")


def facts(record: Record) -> dict[str, Any]:
    """All that must be equal to the last bit."""
    return {k: v for k, v in json.loads(record.to_json()).items() if k not in NO_FACTS}


def run(rule: str, task: Path, store: Path, **settings: Any) -> Results:
    chosen = {"sgd": {"optimizer.name": "sgd", "optimizer.momentum": 0.9}}.get(rule, {})
    name = "backprop" if rule == "sgd" else rule
    experiments = plan([name], str(task), epochs=3, settings=chosen)
    execution = Execution(CPU, settings.pop("compile", "off"))
    return run_experiments(experiments, SEEDS, Store(store), execution=execution, **settings)


def task_for(rule: str, tiny: Path) -> Path:
    """Equilibrium propagation needs units that saturate."""
    if rule == "equilibrium-propagation":
        tiny.write_text(tiny.read_text().replace("leaky_relu(0.1)", "hard_sigmoid"))
    return tiny


def stopping_after(steps: int) -> Callable[..., None]:
    """Sends this process SIGTERM once so many steps have been taken."""
    sent: list[int] = []

    def observe(_: object, progress: Any) -> None:
        if progress.step >= steps and not sent:
            sent.append(steps)
            signal.raise_signal(signal.SIGTERM)

    return observe


@pytest.mark.parametrize("rule", [*RULES, "sgd", "predictive-coding", "kolen-pollack"])
def test_stopped_between_steps_and_resumed_it_ends_the_same(
    rule: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM in the first, the second and at the end of the second of three epochs of 10."""
    monkeypatch.setattr("bioplaus.training.trainer._REPORT_EVERY_SECONDS", 0.0)
    task = task_for(rule, tiny)
    whole = run(rule, task, tmp_path / "whole")
    assert not whole.problems
    for steps in (3, 17, 20):
        with pytest.raises(Terminated) as stopped, handled():
            run(rule, task, tmp_path / "parts", observe=stopping_after(steps))
        assert stopped.value.code == 143
    parts = run(rule, task, tmp_path / "parts")
    assert [facts(r) for r in parts.records] == [facts(r) for r in whole.records]
    assert parts.records[0].provenance["resumed_at_steps"] == [3, 17, 20]
    assert not list(tmp_path.rglob(".*"))


def test_a_compiled_run_resumes_to_the_same_bits(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bioplaus.training.trainer._REPORT_EVERY_SECONDS", 0.0)
    whole = run("gaitprop", tiny, tmp_path / "whole", compile="on")
    with pytest.raises(Terminated), handled():
        run("gaitprop", tiny, tmp_path / "parts", compile="on", observe=stopping_after(13))
    parts = run("gaitprop", tiny, tmp_path / "parts", compile="on")
    assert [facts(r) for r in parts.records] == [facts(r) for r in whole.records]


def child_run(rule: str, task: Path, store: Path) -> None:
    """A run in a process of its own, checkpoints being written all the time."""
    torch.set_num_threads(1)
    checkpoint._WITHIN_EPOCH_SECONDS = 0.0
    checkpoint._SHARE = 1.0
    assert not run(rule, task, store).problems


@pytest.mark.parametrize("rule", RULES)
def test_killed_at_random_moments_it_ends_the_same(
    rule: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four kill -9 while it trains, for each of five rules."""
    # a server that has not trained forks the children: autograd does not survive a fork
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bioplaus.running.run", "test_checkpoint"])
    task = task_for(rule, tiny)
    whole = run(rule, task, tmp_path / "whole")
    moments = random.Random(rule)
    killed = 0
    while killed < 4:
        child = context.Process(target=child_run, args=(rule, task, tmp_path / "parts"))
        child.start()
        while child.is_alive() and not list(tmp_path.rglob(".checkpoint-*.pt")):
            time.sleep(0.001)
        time.sleep(moments.uniform(0.0, 0.2))
        child.kill()
        child.join()
        if child.exitcode == -signal.SIGKILL:
            killed += 1
        else:  # it was done before
            assert child.exitcode == 0
            shutil.rmtree(tmp_path / "parts")
    parts = run(rule, task, tmp_path / "parts")
    assert [facts(r) for r in parts.records] == [facts(r) for r in whole.records]
    assert not list((tmp_path / "parts").rglob(".*")), "an orphaned temporary file"


def test_a_folder_that_takes_no_checkpoint_stops_no_training(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Checkpoints, tensors: Tensors) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "_write", full)
    done = run("backprop", tiny, tmp_path / "r")
    assert len(done.records) == 2
    (note,) = done.notes
    assert note.startswith("no checkpoint could be written to") and "No space left" in note
    assert done.records[0].provenance["notes"] == [note]


def test_a_group_that_does_not_fit_is_halved_and_says_so(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory with more than two seeds: five train as two, one and two."""
    train = Trainer.train
    sizes = []

    def limited(self: Trainer, *args: Any) -> Any:
        if len(self.seeds) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        sizes.append(len(self.seeds))
        return train(self, *args)

    monkeypatch.setattr(Trainer, "train", limited)
    execution = Execution(CPU, "off")
    done = run_experiments(
        plan(["backprop"], str(tiny)), range(5), Store(tmp_path / "r"), execution=execution
    )
    assert sizes == [2, 1, 2]
    assert [r.seed for r in done.records] == [0, 1, 2, 3, 4] and not done.problems
    assert any("5 seeds together did not fit into memory" in note for note in done.notes)
    assert "notes" in done.records[0].provenance


def test_a_single_seed_that_does_not_fit_is_a_problem_with_advice(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Trainer, *args: Any) -> Any:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes")

    monkeypatch.setattr(Trainer, "train", full)
    execution = Execution(CPU, "off")
    done = run_experiments(
        plan(["backprop"], str(tiny)), [0, 1], Store(tmp_path / "r"), execution=execution
    )
    assert done.problems == [
        "backprop on tiny does not fit into memory, even with one seed at a time; a smaller "
        "batch may: --set task.batch_size=25"
    ]


def test_an_error_of_the_rule_is_no_lack_of_memory(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(self: Trainer, *args: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Trainer, "train", wrong)
    experiments = plan(["backprop"], str(tiny))
    done = run_experiments(experiments, [0, 1], Store(tmp_path), execution=Execution(CPU))
    (problem,) = done.problems
    assert "shapes cannot be multiplied" in problem


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


def test_a_step_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioplaus.system.interruption._PATIENCE_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), handled(), Interruption():
        signal.raise_signal(signal.SIGINT)
        while time.monotonic() < start + 60:
            pass
    assert 0.2 <= time.monotonic() - start < 30


def test_a_second_signal_is_not_kept() -> None:
    with pytest.raises(Terminated), handled(), Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_comes_too_late_is_obeyed_when_the_work_is_done() -> None:
    done = []
    with pytest.raises(Terminated), handled():
        with Interruption():
            signal.raise_signal(signal.SIGTERM)
        done.append("kept")
    assert done == ["kept"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
