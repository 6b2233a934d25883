"""Runs that share a folder: the second waits, takes over from the dead, and uses what was first."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from bioplaus.experiments.experiment import plan
from bioplaus.records.reading import read_record
from bioplaus.records.store import Store
from bioplaus.running import run as module
from bioplaus.running.run import run_experiments
from bioplaus.training.execution import Execution
from tests.helpers.command import BIOPLAUS
from tests.helpers.training import CPU, train


def running(tiny: Path, results: Path) -> subprocess.Popen[str]:
    """Trains for longer than any test."""
    command = [BIOPLAUS, "run", "--task", str(tiny), "--seeds", "1",
               "--results", str(results), "--rule", "backprop", "--epochs", "100000"]  # fmt: skip
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(results: Path, name: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not list(results.rglob(name)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)


def test_of_two_runs_the_second_waits_and_takes_over_from_the_dead(
    tiny: Path, tmp_path: Path
) -> None:
    first = running(tiny, tmp_path / "r")
    second = running(tiny, tmp_path / "r")
    try:
        wait_for(tmp_path / "r", ".claim-0001", first)
        (claim,) = (tmp_path / "r").rglob(".claim-0001")
        holder, waiter = (first, second) if f'"pid": {first.pid},' in claim.read_text() else (
            second, first)  # fmt: skip
        assert waiter.stderr is not None
        line = next(line for line in waiter.stderr if "is at work on it" in line)
        assert line.startswith("backprop on tiny epochs=100000: process ")
        assert f"process {holder.pid} on " in line
        holder.kill()
        wait_for(tmp_path / "r", ".claim-0002", waiter)
        waiter.send_signal(signal.SIGINT)
        _, stderr = waiter.communicate(timeout=60)
        assert waiter.returncode == 130, stderr
    finally:
        first.kill()
        second.kill()
    assert not list((tmp_path / "r").rglob(".claim*")), "let go of at Ctrl-C too"
    assert not list((tmp_path / "r").rglob(".writing*"))


def test_a_run_uses_the_record_that_was_first(tiny: Path, tmp_path: Path) -> None:
    """Another process publishes while this one trains: that record stays, and is shown."""
    experiments = plan(["backprop"], str(tiny))
    here = Execution(CPU)
    (theirs,) = run_experiments(experiments, [0], Store(tmp_path / "b"), execution=here).records
    theirs = theirs.model_copy(update={"provenance": {"by": "another process"}})
    store = Store(tmp_path / "a")
    done = run_experiments(experiments, [0], store, execution=here,
                           observe=lambda *_: store.write(theirs))  # fmt: skip
    assert done.records == [theirs] and store.read_all().records == [theirs]
    assert len(run_experiments(experiments, [0], store, execution=here, force=True).records) == 1
    assert store.read_all().records != [theirs], "but --force replaces it"


def test_records_hold_everything(tiny: Path, tmp_path: Path) -> None:
    done = train(tiny, tmp_path / "r", "gaitprop", settings={"ortho": 0.05})
    files = sorted((tmp_path / "r").rglob("*.json"))
    assert [f.name for f in files] == ["seed-0000.json", "seed-0001.json"]
    record = read_record(files[1])
    assert record == done.records[1]
    assert (record.task, record.rule, record.seed) == ("tiny", "gaitprop", 1)
    assert record.configuration["options"]["ortho"] == 0.05
    assert record.configuration["options"]["form"] == "difference"
    assert record.configuration["data"]["sizes"] == {"train": 500, "validation": 937, "test": 360}
    assert len(record.curves.metrics["loss"]) == 2
    assert record.test_accuracy == record.curves.test_accuracy[-1]
    assert record.provenance["packages"]["torch"].partition("+")[0] in torch.__version__
    assert record.provenance["seeds_together"] == [0, 1]
    assert json.loads(files[1].read_text())["schema"] == 1


def test_only_what_is_missing_runs(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[list[int]] = []
    real = module.train_groups

    def spy(experiment, data, seeds, *rest):  # type: ignore[no-untyped-def]
        trained.append(list(seeds))
        return real(experiment, data, seeds, *rest)

    monkeypatch.setattr(module, "train_groups", spy)
    results = tmp_path / "r"
    train(tiny, results, "gaitprop", seeds=[1])
    again = train(tiny, results, "gaitprop", seeds=[0, 1, 2])
    assert trained == [[1], [0, 2]]
    assert (again.reused, len(again.records)) == (1, 3)
    train(tiny, results, "gaitprop", seeds=[0, 1, 2])
    assert len(trained) == 2
    train(tiny, results, "gaitprop", seeds=[1], force=True)
    assert trained[2:] == [[1]]
    damaged = next(results.rglob("seed-0002.json"))
    damaged.write_text(damaged.read_text()[:100])
    train(tiny, results, "gaitprop", seeds=[0, 1, 2])
    assert trained[3:] == [[2]]


def test_the_same_seed_twice_is_the_same_record(tiny: Path, tmp_path: Path) -> None:
    first = train(tiny, tmp_path / "a", "gaitprop", "targetprop").records
    second = train(tiny, tmp_path / "b", "gaitprop", "targetprop").records
    for one_, other in zip(first, second, strict=True):
        assert one_.curves == other.curves
        assert one_.key == other.key


def test_a_rule_that_raises_is_a_problem_and_the_others_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bioplaus.plugins.registry import load

    def broken(self: object, *args: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(load("rule", "backprop"), "deltas", broken)
    done = train(tiny, tmp_path / "r", "backprop", "gaitprop")
    assert [r.rule for r in done.records] == ["gaitprop", "gaitprop"]
    assert len(done.problems) == 1
    assert "'backprop' failed on tiny: ZeroDivisionError: planted" in done.problems[0]
    monkeypatch.setenv("BIOPLAUS_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError, match="planted"):
        train(tiny, tmp_path / "s", "backprop")


def test_a_record_that_cannot_be_written_is_not_lost(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bioplaus.errors import RecordError

    def full(self: Store, record: object, replace: bool) -> Path:
        raise RecordError("cannot write: no space left on device")

    monkeypatch.setattr(Store, "publish", full)
    done = train(tiny, tmp_path / "r", "gaitprop")
    assert len(done.records) == 2
    assert done.problems == ["stopped: cannot write: no space left on device"]


def test_weights_are_kept_beside_the_record(tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path / "r", "gaitprop", seeds=[0])
    train(tiny, tmp_path / "r", "gaitprop", seeds=[0], save_weights=True)
    path = next((tmp_path / "r").rglob("seed-0000.pt"))
    weights = torch.load(path, weights_only=True)
    assert sorted(weights) == ["1.bias", "1.weight", "2.bias", "2.weight"]
    assert weights["1.weight"].shape == (16, 64)
