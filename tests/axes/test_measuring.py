"""Measurements beside records: from saved weights or a rerun, kept once, merged and verified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bioplaus.axes.by_name import AnyAxis, configured
from bioplaus.axes.measuring import Measured, Measuring
from bioplaus.benchmark.reruns import files_of, rerun
from bioplaus.records.merge import merge
from bioplaus.records.reading import read_measurement
from bioplaus.records.schema import Measurement
from bioplaus.records.store import Store
from tests.helpers.training import CPU, train

QUICK = {"examples": 60, "k": [1, 2], "queries": 10, "input_noise": [0.2], "draws": 1}


def axis() -> AnyAxis:
    return configured("robustness", QUICK)


def measured(folder: Path, *rules: str, force: bool = False) -> Measured:
    store = Store(folder)
    found = store.read_all()
    wanted = [r for r in found.records if not rules or r.rule in rules]
    return Measuring(axis(), store, found, CPU, force=force).run(wanted)


@pytest.fixture
def saved(tiny: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    train(tiny, folder, "backprop", save_weights=True, compile="off")
    return folder


def test_saved_weights_and_a_rerun_give_the_same_files(saved: Path) -> None:
    first = measured(saved)
    assert first.problems == [] and len(first.measurements) == 2
    assert {m.provenance["weights"] for m in first.measurements} == {"saved"}
    for path in saved.rglob("*.pt"):
        path.unlink()
    again = measured(saved, force=True)
    assert {m.provenance["weights"] for m in again.measurements} == {"trained again"}
    assert [m.key for m in again.measurements] == [m.key for m in first.measurements]
    assert [m.values for m in again.measurements] == [m.values for m in first.measurements]


def test_a_measurement_stands_beside_its_record_and_says_what_it_is_of(saved: Path) -> None:
    (first, _) = measured(saved).measurements
    record = Store(saved).read_all().records[0]
    path = Store(saved).place(first)
    beside = Store(saved).place(record)
    assert path.parent == beside.parent
    assert path.name == f"axis-robustness-{first.key[:16]}-seed-0000.json"
    assert (first.record, first.cell, first.seed) == (record.key, record.cell, 0)
    assert first.settings["k"] == [1, 2] and first.settings["examples"] == 60
    assert read_measurement(path) == first


def test_what_is_measured_is_not_measured_again(saved: Path) -> None:
    measured(saved)
    done = measured(saved)
    assert done.reused == 2 and len(done.measurements) == 2
    for path in saved.rglob("*.pt"):
        path.unlink()
    assert measured(saved).reused == 2  # without weights, what was measured of the record counts


def test_other_settings_are_another_measurement(saved: Path) -> None:
    measured(saved)
    other = configured("robustness", {**QUICK, "k": [3]})
    store = Store(saved)
    found = store.read_all()
    assert Measuring(other, store, found, CPU).run(found.records).reused == 0
    assert len(Store(saved).read_all().measurements) == 4


def test_weights_of_another_run_are_not_believed(saved: Path) -> None:
    (path,) = saved.rglob("seed-0000.pt")
    weights = torch.load(path, weights_only=True)
    torch.save({name: torch.zeros_like(t) for name, t in weights.items()}, path)
    done = measured(saved)
    assert [m.seed for m in done.measurements] == [1]
    (problem,) = done.problems
    assert "seed 0" in problem and "they are of another run" in problem


@pytest.mark.parametrize("what", ["text", "names", "shapes"])
def test_what_are_no_weights_of_the_network_is_said(saved: Path, what: str) -> None:
    (path,) = saved.rglob("seed-0000.pt")
    if what == "text":
        path.write_text("no tensors")
    else:
        weights = torch.load(path, weights_only=True)
        key = "1.weight"
        weights["other" if what == "names" else key] = weights.pop(key)[:2]
        torch.save(weights, path)
    done = measured(saved)
    assert [m.seed for m in done.measurements] == [1]
    (problem,) = done.problems
    assert "seed-0000.pt" in problem and "\n" not in problem


def test_a_seed_that_diverged_is_not_measured(tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path / "r", "backprop", settings={"optimizer.lr": 1e30}, compile="off")
    done = measured(tmp_path / "r")
    assert done.measurements == []
    assert len(done.problems) == 2 and "it diverged" in done.problems[0]


def test_what_cannot_be_trained_again_is_not_measured(saved: Path) -> None:
    for path in saved.rglob("*.pt"):
        path.unlink()
    for path in saved.rglob("seed-*.json"):
        content = json.loads(path.read_text())
        content["curves"]["metrics"]["loss"][0] *= 2
        path.write_text(json.dumps(content))
    done = measured(saved)
    assert done.measurements == []
    assert "it came out otherwise" in done.problems[0]


def test_a_rule_that_answers_from_its_state_keeps_it(tiny: Path, tmp_path: Path) -> None:
    """Its answers from the files are those of the training."""
    folder = tmp_path / "state"
    train(tiny, folder, "forward-forward", save_weights=True, seeds=[0], compile="off")
    assert [p.name for p in folder.rglob("*.state.pt")] == ["seed-0000.state.pt"]
    assert measured(folder).problems == []  # the accuracy is the record's
    (path,) = folder.rglob("*.state.pt")
    path.unlink()
    again = train(tiny, folder, "forward-forward", save_weights=True, seeds=[0], compile="off")
    assert again.reused == 0 and path.is_file()


def test_merging_copies_measurements(saved: Path, tmp_path: Path) -> None:
    measured(saved)
    into = tmp_path / "into"
    assert merge([saved], into).copied == 4
    assert len(Store(into).read_all().measurements) == 2
    assert merge([saved], into).same == 4


def test_a_conflict_of_measurements_is_named(saved: Path, tmp_path: Path) -> None:
    measured(saved)
    into = tmp_path / "into"
    merge([saved], into)
    (path,) = into.rglob("axis-*seed-0000.json")
    content = json.loads(path.read_text())
    content["values"]["clean"] = 0.123
    path.write_text(json.dumps(content))
    (conflict,) = merge([saved], into).conflicts
    assert "states other results" in conflict


def test_verifying_measures_again(saved: Path) -> None:
    measured(saved)
    files = [p for p in files_of([saved]) if p.name.startswith("axis-")]
    assert len(files) == 2
    found = list(rerun(files))
    assert [r.result for r in found] == ["to the last bit"] * 2
    content = json.loads(files[0].read_text())
    content["values"]["clean"] = max(0.0, content["values"]["clean"] - 0.5)
    files[0].write_text(json.dumps(content))
    first, second = rerun(files)
    assert first.result == "differs" and any("clean was" in r for r in first.reasons)
    assert second.reproduces


def test_a_file_whose_key_is_not_its_own_is_damaged(saved: Path) -> None:
    measured(saved)
    (path,) = saved.rglob("axis-*seed-0000.json")
    content = json.loads(path.read_text())
    content["settings"]["k"] = [1, 2, 3]
    path.write_text(json.dumps(content))
    found = Store(saved).read_all()
    assert len(found.measurements) == 1 and len(found.records) == 2
    (line,) = found.damaged
    assert "the key does not match" in line


@pytest.mark.parametrize(
    "change",
    [
        {"values": {"clean": 1.5}, "described": {"clean": {"share": True}}},
        {"values": {"clean": [0.5]}, "described": {"clean": {}}},
        {"values": {"clean": 0.5}, "described": {}},
    ],
)
def test_what_contradicts_itself_is_damaged(saved: Path, change: dict[str, object]) -> None:
    measured(saved)
    (path,) = saved.rglob("axis-*seed-0000.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    found = Store(saved).read_all()
    assert len(found.measurements) == 1 and len(found.damaged) == 1


def test_a_number_that_is_not_finite_is_null(saved: Path) -> None:
    (item, _) = measured(saved).measurements
    content = item.model_dump(by_alias=True)
    content["values"] = {"a": float("nan"), "b": [1.0, float("inf")]}
    content["described"] = {"a": {}, "b": {"over": "k", "at": [1, 2]}}
    made = Measurement.model_validate(content)
    assert made.values == {"a": None, "b": [1.0, None]}
    assert "NaN" not in made.to_json()
