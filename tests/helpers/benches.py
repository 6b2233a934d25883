"""Benchmarks of a few seconds, and what they decide."""

from __future__ import annotations

from pathlib import Path

from bioplaus.analysis.report import Report
from bioplaus.benchmark.driver import Spectator, drive
from bioplaus.benchmark.plan import Place, expand
from bioplaus.benchmark.suite import read_suite
from bioplaus.benchmark.work import Done, work
from bioplaus.plugins import registry
from bioplaus.records.schema import ResultSet
from bioplaus.records.store import Store
from tests.helpers.inline import InlineExecutor

TUNED = """
name = "mine"
rules = ["backprop", "gaitprop"]
tasks = ["tiny.toml"]
seeds = 2
epochs = 1

[tuning]
trials = 2
"""
PLAIN = TUNED.partition("[tuning]")[0]


def suite_file(tiny: Path, text: str = TUNED) -> Path:
    path = tiny.with_name("suite.toml")
    path.write_text(text)
    return path


def bench(
    suite: Path, results: Path, max_replicas: int | None = None
) -> tuple[Done, InlineExecutor]:
    place, done = Place(Store(results), max_replicas=max_replicas), Done()
    executor = InlineExecutor()
    entries = expand(read_suite(str(suite))).entries
    drive([work(entry, place, done) for entry in entries], executor, Spectator())
    return done, executor


def table(results: Path) -> str:
    """All that a run decides: the CSV without the seconds."""
    report: Report = registry.load("report", "csv")()
    found = Store(results).read_all()
    still = {"train_seconds": 1.0, "group_train_seconds": 1.0, "group_evaluation_seconds": 1.0}
    records = [
        r.model_copy(update={"timing": r.timing.model_copy(update=still)}) for r in found.records
    ]
    assert not found.damaged
    return report.render(ResultSet(records))


def facts(results: Path) -> dict[str, object]:
    """Every curve of every record, and every trial."""
    found = Store(results).read_all()
    return {r.key: r.curves for r in found.records} | {t.key: t.trials for t in found.tunings}
