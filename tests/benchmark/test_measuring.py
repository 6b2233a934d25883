"""Measuring by several processes gives the files that one process writes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from bioplaus.axes.by_name import AnyAxis, configured
from bioplaus.axes.measuring import Measured, Measuring, settings_of
from bioplaus.benchmark.measuring import MeasuringJob, measure_by_workers
from bioplaus.records.schema import Measurement
from bioplaus.records.store import Store
from tests.helpers.inline import InlineExecutor
from tests.helpers.training import CPU, train


def axis() -> AnyAxis:
    return configured("robustness", {"examples": 30, "k": [1, 2], "queries": 5, "draws": 1})


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """One rule with its weights, another whose weights are damaged."""
    folder = tmp_path / "r"
    train(tiny, folder, "backprop", "sign-symmetry", save_weights=True, compile="off")
    for file in (folder / "tiny" / "sign-symmetry").rglob("*.pt"):
        file.write_bytes(b"no weights")
    return folder


def numbers(items: list[Measurement]) -> list[tuple[object, ...]]:
    return [(m.rule, m.seed, m.weights, m.values) for m in items]


def test_workers_give_what_one_process_gives(folder: Path) -> None:
    store = Store(folder)
    found = store.read_all()
    told: list[float] = []
    with InlineExecutor() as executor:
        done = measure_by_workers(
            executor, axis(), store, found.records, lambda what, at: told.append(at), False
        )
    files = store.read_all().measurements
    assert numbers(list(files)) == numbers(done.measurements)
    assert [(m.rule, m.seed) for m in done.measurements] == [("backprop", 0), ("backprop", 1)]
    assert len(done.problems) == 2 and all("sign-symmetry" in line for line in done.problems)
    assert told == sorted(told) and told[-1] == 4.0
    alone = Measuring(axis(), store, found, CPU, force=True, keeps=False).run(found.records)
    assert numbers(alone.measurements) == numbers(done.measurements)
    assert alone.problems == done.problems


def test_a_job_travels_and_writes_nothing(folder: Path) -> None:
    records = tuple(r for r in Store(folder).read_all().records if r.rule == "backprop")
    settings = axis().config.model_dump_json()
    job = MeasuringJob("robustness", settings, folder, records, "cpu", False)
    again = pickle.loads(pickle.dumps(job))
    before = sorted(folder.rglob("*"))
    steps: list[tuple[int, int]] = []
    done = again.run(lambda progress: steps.append((progress.step, progress.steps)))
    assert isinstance(done, Measured) and len(done.measurements) == 2
    assert done.measurements[0].settings == settings_of(axis())
    assert sorted(folder.rglob("*")) == before
    assert steps[-1] == (2000, 2000)
