"""The plan of a benchmark: its cells, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioplaus.benchmark.plan import expand
from bioplaus.benchmark.suite import read_suite
from bioplaus.errors import DataError
from bioplaus.plugins import registry
from bioplaus.records.store import Store
from bioplaus.running.seed_records import SeedRecords
from tests.helpers.benches import PLAIN, suite_file


def test_rules_and_data_that_do_not_fit_are_named_and_the_rest_runs(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: object, split: str) -> object:
        raise DataError("kmnist is not here")

    monkeypatch.setattr(registry.load("dataset", "kmnist"), "load", missing)
    text = PLAIN.replace('["tiny.toml"]', '["tiny.toml", "kmnist-square", "kmnist-tower"]')
    text = text.replace('"gaitprop"', '"burstccn"')
    benchmark = expand(read_suite(str(suite_file(tiny, text))))
    assert [e.title for e in benchmark.entries] == ["backprop on tiny epochs=1"]
    data, rule = benchmark.skipped
    assert data == "kmnist-square, kmnist-tower: kmnist is not here"
    assert rule.startswith("burstccn cannot train on tiny: ")


def test_a_cell_is_what_its_key_says(tiny: Path, tmp_path: Path) -> None:
    (entry, _) = expand(read_suite(str(suite_file(tiny, PLAIN)))).entries
    cell = entry.cell(Store(tmp_path), {"optimizer.lr": 0.5})
    assert isinstance(cell, SeedRecords) and cell.experiment.label == "optimizer.lr=0.5 epochs=1"
    assert cell.digest != entry.cell(Store(tmp_path), {}).digest
