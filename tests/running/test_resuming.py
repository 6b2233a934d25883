"""A run that was stopped ends as if it had not been."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bioplaus.records.store import Store
from bioplaus.system.interruption import Terminated, handled
from bioplaus.training import checkpoint
from bioplaus.training.checkpoint import PREFIX
from tests.helpers.resuming import SEEDS, facts, run, stopping_after

RULES = ["backprop", "gaitprop", "weight-mirror", "targetprop", "equilibrium-propagation"]
"""Among them rules with memory, auxiliary parameters and optimizers, noise, and a sweep of
several phases."""


def task_for(rule: str, tiny: Path) -> Path:
    """Equilibrium propagation needs units that saturate."""
    if rule == "equilibrium-propagation":
        tiny.write_text(tiny.read_text().replace("leaky_relu(0.1)", "hard_sigmoid"))
    return tiny


@pytest.mark.parametrize("rule", [*RULES, "sgd", "predictive-coding", "kolen-pollack"])
def test_stopped_between_steps_and_resumed_it_ends_the_same(
    rule: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM in the first, the second and at the end of the second of three epochs of 10."""
    monkeypatch.setattr("bioplaus.training.trainer._REPORT_EVERY_SECONDS", 0.0)
    # an evaluation that is traced first may take longer on a busy machine
    monkeypatch.setattr("bioplaus.system.interruption._PATIENCE_SECONDS", 600.0)
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


def test_stopped_between_two_records_it_ends_the_same(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seed that has none trains in the company that it had, which its last bits hang on."""
    whole = run("backprop", tiny, tmp_path / "whole")
    publish = Store.publish

    def stopped(self: Store, item: Any, *, replace: bool = False) -> Any:
        publish(self, item, replace=replace)
        raise Terminated(signal.SIGTERM)

    monkeypatch.setattr("bioplaus.training.trainer._REPORT_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "WITHIN_EPOCH_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", 1.0)
    with monkeypatch.context() as patch, pytest.raises(Terminated):
        patch.setattr(Store, "publish", stopped)
        run("backprop", tiny, tmp_path / "parts")
    assert len(list(tmp_path.glob("parts/*/*/*/seed-*.json"))) == 1
    parts = run("backprop", tiny, tmp_path / "parts")
    companies = [record.provenance["seeds_together"] for record in parts.records]
    assert companies == [SEEDS, SEEDS]
    assert [facts(r) for r in parts.records] == [facts(r) for r in whole.records]
    assert not list((tmp_path / "parts").rglob(".*"))


def child_run(rule: str, task: Path, store: Path) -> None:
    """A run in a process of its own, checkpoints being written all the time."""
    torch.set_num_threads(1)
    checkpoint.WITHIN_EPOCH_SECONDS = 0.0
    checkpoint.SHARE = 1.0
    assert not run(rule, task, store).problems


@pytest.mark.parametrize("rule", RULES)
def test_killed_at_random_moments_it_ends_the_same(
    rule: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four kill -9 while it trains, for each of five rules."""
    # a server that has not trained forks the children: autograd does not survive a fork
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bioplaus.running.run", "tests.running.test_resuming"])
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
    real = os.replace

    def full(source: object, target: object) -> None:
        if PREFIX in str(target):
            raise OSError(28, "No space left on device")
        real(source, target)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "replace", full)
    done = run("backprop", tiny, tmp_path / "r")
    assert len(done.records) == 2
    (note,) = done.notes
    assert note.startswith("no checkpoint could be written to") and "No space left" in note
    assert done.records[0].provenance["notes"] == [note]
