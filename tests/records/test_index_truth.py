"""The index changes nothing but the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioplaus.plugins import registry
from bioplaus.records import index as index_module
from bioplaus.records import store as store_module
from bioplaus.records.rule_card import rule_card
from bioplaus.records.store import Store
from tests.helpers.opened import reads_heard
from tests.helpers.records import make_record
from tests.helpers.tunings import make_tuning


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A folder that is read through an index."""
    monkeypatch.setattr(store_module, "INDEXED_FROM", 1)
    monkeypatch.setattr(
        index_module, "index_path", lambda folder: tmp_path / "cache" / "index.sqlite"
    )
    store = Store(tmp_path / "results")
    card = rule_card(registry.load("rule", "backprop").configured())
    for seed in range(5):
        cosines = [[0.5, None], [0.25, 0.125]]
        store.write(make_record(seed=seed, cosines=cosines, validation=0.1 + 0.2, card=card))
    store.write(make_record(seed=5, loss=None, test=None, diverged=True))
    store.write(make_tuning())
    return store


def test_an_index_changes_nothing_but_the_time(
    many: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = many.read_all(), many.read_all()
    with reads_heard() as heard:
        third = many.read_all()
    assert not [path for path in heard.records() if path.name.startswith("seed-")]
    assert first == second == third
    assert [r.to_json() for r in third.records] == [r.to_json() for r in first.records]
    monkeypatch.undo()
    assert Store(many.folder).read_all() == first, "as without an index"


def test_the_files_remain_the_truth(many: Store) -> None:
    many.read_all()
    changed = many.write(make_record(seed=0, test=0.75), replace=True)
    many.path("toy", "backprop", make_record().cell, 1).unlink()
    broken = many.path("toy", "backprop", make_record().cell, 2)
    broken.write_bytes(broken.read_bytes()[:-40])
    found = many.read_all()
    assert [r.seed for r in found.records] == [0, 3, 4, 5]
    assert found.records[0].test_accuracy == 0.75, changed
    assert len(found.damaged) == 1 and str(broken) in found.damaged[0]


def test_a_damaged_index_is_made_anew(many: Store) -> None:
    before = many.read_all()
    path = index_module.index_path(many.folder)
    path.write_bytes(b"not a database" * 100)
    assert many.read_all() == before
    path.unlink()
    path.mkdir()
    assert many.read_all() == before, "without an index, where there can be none"
