"""Verifying records: to the last bit, within a tolerance, or not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import bioplaus
from bioplaus.cli import main
from bioplaus.experiments.experiment import configure
from bioplaus.plugins import registry
from bioplaus.records.reading import read_record
from bioplaus.records.store import Store
from bioplaus.running.run import run_experiments
from bioplaus.running.verify import accuracy_tolerance, beyond_tolerance, different_bits, verify
from bioplaus.tasks.task import read_task
from bioplaus.training.execution import Execution
from bioplaus.training.stepper import Compile
from tests.helpers.records import make_record
from tests.helpers.tiny import TINY


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(TINY)
    settings = {"optimizer.lr": 3e-3, "gaitprop.ortho": 0.05}
    bioplaus.run("gaitprop", str(folder / "tiny.toml"), 3, results=folder, settings=settings)
    return folder


def one_of(folder: Path) -> Path:
    return next(folder.rglob("seed-0001.json"))


def test_a_record_reproduces_to_the_last_bit(trained: Path) -> None:
    record = read_record(one_of(trained))
    verdict = verify(record)
    assert verdict.reproduces and verdict.exact and not verdict.reasons
    assert verdict.again.curves == record.curves and verdict.again.key == record.key


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_record_of_a_device_that_is_not_here_is_run_on_the_one_that_is(trained: Path) -> None:
    """What a GPU made anyone can verify, within the tolerance and not to the last bit."""
    record = read_record(one_of(trained))
    origin = {**record.provenance, "device_type": "cuda", "device": "NVIDIA H100"}
    verdict = verify(record.model_copy(update={"provenance": origin}))
    assert verdict.reproduces and not verdict.exact
    assert "device_type was cuda, is cpu" in verdict.reasons


@pytest.mark.parametrize("measured", ["on", "off"])
def test_evaluations_run_as_the_record_says_that_they_did(
    tmp_path: Path, measured: Compile
) -> None:
    """What this machine has compiled since, another run's evaluation say, changes nothing."""
    (tmp_path / "tiny.toml").write_text(TINY)
    experiment = configure("gaitprop", read_task(str(tmp_path / "tiny.toml")), {}, "fp32")
    execution = Execution(torch.device("cpu"), "off", measured=measured)
    done = run_experiments([experiment], [0, 1], Store(tmp_path), execution=execution)
    for record in done.records:
        how = {"on": "compiled", "off": "traced"}[measured]
        assert record.provenance["measurements"] == how
        assert record.provenance["execution"] == "traced"
        verdict = verify(record)
        assert verdict.reproduces and verdict.exact, verdict.reasons
        assert verdict.again.provenance["measurements"] == how


def test_alone_it_reproduces_within_the_tolerance(trained: Path) -> None:
    verdict = verify(read_record(one_of(trained)), alone=True)
    assert verdict.reproduces and not verdict.exact
    assert verdict.reasons == ["seeds_together was [0, 1, 2], is [1]"]


def test_a_record_with_another_result_does_not_reproduce(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "r")
    path = one_of(tmp_path / "r")
    content = json.loads(path.read_text())
    right = round(360 * content["test_accuracy"]) - 1
    content["test_accuracy"] = content["curves"]["test_accuracy"][-1] = right / 360
    path.write_text(json.dumps(content))
    done = CliRunner().invoke(main, ["verify", str(path)])
    assert done.exit_code == 1
    assert "test_accuracy was" in done.stdout and "does not reproduce" in done.stderr
    assert CliRunner().invoke(main, ["verify", str(one_of(trained))]).exit_code == 0


def test_verify_refuses_what_it_cannot_run(trained: Path, tmp_path: Path) -> None:
    toy = Store(tmp_path).write(make_record())
    done = CliRunner().invoke(main, ["verify", str(toy)])
    assert done.exit_code == 1 and "cannot be run" in done.stderr
    rule = registry.load("rule", "gaitprop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rule, "version", rule.version + 1)
        done = CliRunner().invoke(main, ["verify", str(one_of(trained))])
    assert done.exit_code == 1 and "the record is of version" in done.stderr
    done = CliRunner().invoke(main, ["verify", str(tmp_path / "none.json")])
    assert done.exit_code == 1 and "No such file" in done.stderr


def test_the_tolerance_is_the_binomials() -> None:
    # sqrt(2 * 0.25 / 200) = 0.05
    assert accuracy_tolerance(0.5, 200) == pytest.approx(0.2, rel=1e-12)
    assert accuracy_tolerance(1.0, 200) == 0.01, "two examples, where no spread is left"
    configuration = {"configuration": {"precision": "fp32"}}
    record = make_record(test=0.5, loss=1.0).model_copy(update=configuration)
    near = make_record(test=0.69, loss=1.009).model_copy(update=configuration)
    far = make_record(test=0.71, loss=1.011).model_copy(update=configuration)
    assert beyond_tolerance(record, near, 200) == []
    assert len(beyond_tolerance(record, far, 200)) == 2
    assert len(different_bits(record, near)) == 2


def test_verify_leaves_the_threads_as_they_were(trained: Path) -> None:
    before = torch.get_num_threads()
    verify(read_record(one_of(trained)))
    assert torch.get_num_threads() == before
