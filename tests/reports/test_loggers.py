"""Loggers: what other programs are told is what the records say."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bioplaus.cli import main
from bioplaus.errors import BioplausError
from bioplaus.plugins import registry
from bioplaus.running.logger import Logger, Loggers, curves
from tests.helpers.records import make_record


def run(tiny: Path, folder: Path, *more: str) -> Result:
    return CliRunner().invoke(
        main, ["run", "--rule", "backprop", "--task", str(tiny), "--seeds", "2", "--results",
               str(folder / "results"), "--log-dir", str(folder / "logs"), *more]
    )  # fmt: skip


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted(folder.rglob("results/**/seed-*.json"))]


def test_curves_by_flat_names() -> None:
    flat = curves(make_record(loss=0.5, test=0.75, cosines=[[0.1, 0.2]], epochs=2))
    assert flat["loss"] == [0.5, 0.5]
    assert flat["test_accuracy"] == [0.75, 0.75]
    assert flat["validation_accuracy"] == [None, None]
    assert flat["alignment/loss/cosine.0"] == [0.1, 0.2]


def test_tensorboard_shows_every_curve(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for again in range(2):  # what is told twice is there once
        done = run(tiny, tmp_path, "--log", "tensorboard")
        assert done.exit_code == 0, done.output
        assert f"tensorboard --logdir {tmp_path}/logs/tensorboard" in done.stderr, again
    for record in records(tmp_path):
        place = tmp_path / "logs/tensorboard/tiny/backprop" / f"seed-{record['seed']:04d}"
        events = EventAccumulator(str(place))
        events.Reload()
        for name in ("validation_accuracy", "test_accuracy"):
            told = [(e.step, e.value) for e in events.Scalars(name)]
            due = record["curves"][name]
            assert [step for step, _ in told] == [1, 2]
            assert [value for _, value in told] == pytest.approx(due)
        assert "alignment/loss/cosine.1" in events.Tags()["scalars"]
    means = EventAccumulator(str(tmp_path / "logs/tensorboard/tiny/backprop/mean"))
    means.Reload()
    told = [(event.step, event.value) for event in means.Scalars("loss")]
    curves = [record["curves"]["metrics"]["loss"] for record in records(tmp_path)]
    assert [step for step, _ in told] == [1, 2]
    due = [sum(pair) / 2 for pair in zip(*curves, strict=True)]
    assert [value for _, value in told] == pytest.approx(due)


def test_mlflow_has_one_run_for_each_seed(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    from mlflow import MlflowClient

    for _ in range(2):
        done = run(tiny, tmp_path, "--log", "mlflow")
        assert done.exit_code == 0, done.output
    assert "mlflow ui --backend-store-uri sqlite:///" in done.stderr
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/logs/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    runs = {r.data.tags["bioplaus.key"]: r for r in client.search_runs([experiment.experiment_id])}
    assert len(runs) == 2
    for record in records(tmp_path):
        found = runs[record["key"]]
        assert found.data.params["seed"] == str(record["seed"])
        assert found.data.params["optimizer.lr"] == "0.001"
        history = client.get_metric_history(found.info.run_id, "test_accuracy")
        assert [point.step for point in history] == [1, 2]
        assert [point.value for point in history] == record["curves"]["test_accuracy"]
        assert found.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow")]
)
def test_a_missing_package_is_one_line(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker: type[Logger] = registry.load("logger", name)
    real = builtins.__import__

    def refuse(wanted: str, *rest: Any, **named: Any) -> Any:
        if wanted == module:
            raise ImportError(wanted)
        return real(wanted, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BioplausError, match=rf"pip install 'bioplaus\[{name}\]'"):
        maker(tmp_path)


def test_an_unknown_logger_is_refused(tiny: Path, tmp_path: Path) -> None:
    done = run(tiny, tmp_path, "--log", "paper")
    assert done.exit_code == 2
    assert "'paper' is not one of 'mlflow', 'tensorboard'" in done.stderr


def test_the_core_imports_neither() -> None:
    code = (
        "import sys, bioplaus.cli.run, bioplaus.running.run, bioplaus.loggers\n"
        "loaded = {n.partition('.')[0] for n in sys.modules}\n"
        "assert not loaded & {'mlflow', 'tensorboard'}, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_logger_is_a_logger(tmp_path: Path) -> None:
    none = Loggers((), tmp_path)
    none.finish([make_record()])
    assert none.where == []
    assert not list(tmp_path.iterdir())
