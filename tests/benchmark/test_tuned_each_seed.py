"""A suite that tunes anew for each seed: studies apart, seeds apart, resumed and verified."""

from __future__ import annotations

from pathlib import Path

from bioplaus.analysis.boards import boards
from bioplaus.benchmark.verify_tuning import verify_tuning
from bioplaus.records.store import Store
from tests.helpers.benches import TUNED, bench, suite_file


def test_every_seed_has_a_tuning_of_its_own(tiny: Path, tmp_path: Path) -> None:
    suite = suite_file(tiny, TUNED.replace("[tuning]", "[tuning]\neach_seed = true"))
    bench(suite, tmp_path / "r")
    results = Store(tmp_path / "r").read_all()
    assert results.damaged == []
    by_rule: dict[str, list[int]] = {}
    for tuning in results.tunings:
        study = tuning.configuration["study"]
        by_rule.setdefault(tuning.rule, []).append(study)
        trained = [r.seed for r in results.records if r.cell == tuning.cell]
        assert study in trained, "what it chose was trained with its seed"
    rules = {record.rule for record in results.records}
    assert all(sorted(by_rule[rule]) == [0, 1] for rule in rules)
    tried = {
        study: {
            seed
            for t in results.tunings
            if t.configuration["study"] == study
            for seed in t.provenance["seeds_together"]
        }
        for study in (0, 1)
    }
    # one seed a trial: each study's own, the same under every rule, and no result's
    assert len(tried[0]) == len(tried[1]) == 1 and len(tried[0] | tried[1] | {0, 1}) == 4
    for board in boards(results):
        assert {rule: len(cell.records) for rule, cell in board.entries.items()} == dict.fromkeys(
            rules, 2
        )
    _, executor = bench(suite, tmp_path / "r")
    assert executor.jobs == [], "all of it is there"
    assert verify_tuning(results.tunings[0]).reproduces
