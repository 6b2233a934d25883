"""What a newer bioplaus wrote stays as it is, whatever is run beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bioplaus.cli import main
from bioplaus.records.reading import NewerError, read_failure
from bioplaus.records.schema import FailureRecord
from bioplaus.records.store import Store
from tests.helpers.records import make_record
from tests.helpers.tunings import make_failure, make_tuning

SUITE = """
name = "mine"
rules = ["backprop", "kolen-pollack"]
tasks = ["tiny.toml"]
seeds = 2
epochs = 1
"""
TUNED = SUITE + "[tuning]\ntrials = 1\n"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def schema_2(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2}))


def new_field(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"robustness": [0.5]}))


def new_inner_field(path: Path) -> None:
    content = json.loads(path.read_text())
    content["provenance" if "timing" not in content else "timing"] |= {"joules": 1.0}
    path.write_text(json.dumps(content))


MAKE: dict[str, Callable[[Path], None]] = {"schema": schema_2, "a field": new_field}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.json")}


@pytest.mark.parametrize("how", MAKE)
@pytest.mark.parametrize("force", [[], ["--force"], ["--save-weights"]])
def test_run_leaves_a_newer_record(tiny: Path, tmp_path: Path, how: str, force: list[str]) -> None:
    run = ["run", "--rule", "backprop", "--rule", "kolen-pollack", "--task", tiny, "--epochs", 1]
    run += ["--seeds", 1, "--results", tmp_path / "r"]
    assert call(*run).exit_code == 0
    (path,) = (tmp_path / "r").glob("tiny/backprop/*/seed-0000.json")
    MAKE[how](path)
    before = snapshot(tmp_path / "r")
    done = call(*run, *force)
    assert done.exit_code == 1, done.output
    last = done.stderr.splitlines()[-1]
    assert str(path) in last and "newer bioplaus" in last and "--results DIR" in last
    assert path.read_bytes() == before[str(path.relative_to(tmp_path / "r"))]
    assert not list(path.parent.glob("*.pt"))
    assert "kolen-pollack" in done.stdout, "the other rule goes on"


@pytest.mark.parametrize("how", MAKE)
def test_bench_leaves_newer_records_and_runs_the_rest(tiny: Path, tmp_path: Path, how: str) -> None:
    suite = tiny.with_name("suite.toml")
    suite.write_text(SUITE)
    bench = ["bench", suite, "--jobs", 1, "--results", tmp_path / "r"]
    assert call(*bench).exit_code == 0
    (path,) = (tmp_path / "r").glob("tiny/backprop/*/seed-0001.json")
    MAKE[how](path)
    other = next((tmp_path / "r").glob("tiny/kolen-pollack/*/seed-0001.json"))
    other.unlink()
    before = snapshot(tmp_path / "r")
    dry = call(*bench, "--dry-run")
    assert dry.exit_code == 0 and "newer bioplaus" in dry.stdout
    done = call(*bench)
    assert done.exit_code == 1 and "newer bioplaus" in done.stderr.splitlines()[-1]
    after = snapshot(tmp_path / "r")
    assert {name: after[name] for name in before} == before
    assert other.exists(), "what is missing elsewhere is run"


def test_tune_and_bench_leave_a_newer_tuning(tiny: Path, tmp_path: Path) -> None:
    suite = tiny.with_name("suite.toml")
    suite.write_text(TUNED)
    bench = ["bench", suite, "--jobs", 1, "--results", tmp_path / "r"]
    assert call(*bench).exit_code == 0
    (path,) = (tmp_path / "r").glob("tiny/backprop/tuning-*.json")
    schema_2(path)
    before = snapshot(tmp_path / "r")
    tune = ["tune", "--rule", "backprop", "--task", tiny, "--trials", 1, "--epochs", 1]
    tune += ["--jobs", 1, "--results", tmp_path / "r"]
    for command in (tune, bench):
        done = call(*command)
        assert done.exit_code == 1 and "newer bioplaus" in done.stderr.splitlines()[-1]
        assert snapshot(tmp_path / "r") == before


def test_a_newer_failure_is_neither_removed_nor_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.write(make_failure())
    schema_2(path)
    before = path.read_bytes()
    with pytest.raises(NewerError, match="it is left as it is"):
        store.write(make_failure(reason="another"))
    assert path.read_bytes() == before
    path.unlink()
    store.write(make_failure(reason="one"))
    store.write(make_failure(reason="two"))
    assert isinstance(read_failure(path), FailureRecord) and read_failure(path).reason == "two"


@pytest.mark.parametrize("make", [schema_2, new_field, new_inner_field])
@pytest.mark.parametrize("replace", [False, True])
def test_the_store_replaces_nothing_newer(
    tmp_path: Path, make: Callable[[Path], None], replace: bool
) -> None:
    store = Store(tmp_path)
    items = [make_record()] if make is new_inner_field else [make_record(), make_tuning()]
    for item in items:
        path = store.write(item)
        make(path)
        before = path.read_bytes()
        with pytest.raises(NewerError):
            store.write(item, replace=replace)
        assert path.read_bytes() == before


def test_what_lies_in_the_folder_of_a_tunings_checkpoints_stays(tiny: Path, tmp_path: Path) -> None:
    tune = ["tune", "--rule", "backprop", "--task", tiny, "--trials", 1, "--epochs", 1]
    tune += ["--jobs", 1, "--results", tmp_path / "r"]
    assert call(*tune).exit_code == 0
    (path,) = (tmp_path / "r").rglob("tuning-*.json")
    key = json.loads(path.read_text())["key"]
    path.unlink()
    notes = Store(tmp_path / "r").checkpoints_of_tuning("tiny", "backprop", key) / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    assert call(*tune).exit_code == 0 and notes.read_text() == "mine"
