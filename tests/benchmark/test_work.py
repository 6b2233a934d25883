"""The work of a benchmark: only what is missing runs, and a failure stays its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bioplaus import run
from bioplaus.benchmark.jobs import CellJob, TrialJob
from bioplaus.benchmark.work import seed_groups
from bioplaus.errors import BioplausError
from bioplaus.plugins import registry
from bioplaus.records.store import Store
from tests.helpers.benches import PLAIN, TUNED, bench, facts, suite_file
from tests.helpers.records import make_record


def test_tuned_first_then_trained_on_other_seeds(tiny: Path, tmp_path: Path) -> None:
    done, executor = bench(suite_file(tiny), tmp_path / "r")
    assert [type(job) for job in executor.jobs] == [TrialJob, CellJob] * 2
    seeds = [job.seeds for job in executor.jobs if isinstance(job, TrialJob | CellJob)]
    assert seeds == [(1_000_000,), (0, 1)] * 2
    found = Store(tmp_path / "r").read_all()
    assert sorted({t.cell for t in found.tunings}) == sorted({r.cell for r in found.records})
    assert {(t.budget.trials, t.budget.seeds, t.budget.epochs) for t in found.tunings} == {
        (2, 1, 1)
    }
    assert len(done.records) == 4 and not done.failures


def test_what_is_there_does_not_run_again(tiny: Path, tmp_path: Path) -> None:
    suite = suite_file(tiny)
    bench(suite, tmp_path / "r")
    again, executor = bench(suite, tmp_path / "r")
    assert not executor.jobs and (again.reused, len(again.records)) == (4, 4)
    suite.write_text(TUNED.replace("seeds = 2", "seeds = 3"))
    _, executor = bench(suite, tmp_path / "r")
    assert [(type(j), j.seeds) for j in executor.jobs if isinstance(j, CellJob)] == [
        (CellJob, (2,)),
        (CellJob, (2,)),
    ]
    assert len(executor.jobs) == 2


def test_a_cell_that_raises_is_recorded_and_a_success_supersedes_it(
    tiny: Path, tmp_path: Path
) -> None:
    def broken(self: object, *args: object) -> None:
        raise ZeroDivisionError("planted")

    suite = suite_file(tiny, PLAIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry.load("rule", "backprop"), "deltas", broken)
        done, _ = bench(suite, tmp_path / "r")
    assert {r.rule for r in done.records} == {"gaitprop"}
    (failure,) = Store(tmp_path / "r").read_all().failures
    assert (failure.rule, failure.seeds) == ("backprop", [0, 1])
    assert "ZeroDivisionError: planted" in failure.reason
    bench(suite, tmp_path / "r")
    found = Store(tmp_path / "r").read_all()
    assert not found.failures and len(found.records) == 4


def test_the_seeds_of_a_cell_spread_over_jobs(tiny: Path, tmp_path: Path) -> None:
    """One for each seed gives, to the last bit, what `run` gives for one seed at a time."""
    suite = suite_file(tiny, PLAIN)
    _, executor = bench(suite, tmp_path / "apart", max_replicas=1)
    assert [job.seeds for job in executor.jobs if isinstance(job, CellJob)] == [(0,), (1,)] * 2
    assert facts(tmp_path / "apart") == alone(tiny, tmp_path / "run")
    _, executor = bench(suite, tmp_path / "together")
    assert [job.seeds for job in executor.jobs if isinstance(job, CellJob)] == [(0, 1)] * 2


def alone(task: Path, results: Path) -> dict[str, object]:
    """Of the same rules and seeds, without a benchmark."""
    torch.set_num_threads(1)
    run(["backprop", "gaitprop"], str(task), 2, epochs=1, max_replicas=1, results=results)
    return facts(results)


def test_seeds_that_fail_are_named_and_the_others_kept(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job fails first and another succeeds after it: the failure stays, and is mended."""
    suite = suite_file(tiny, PLAIN.replace("seeds = 2", "seeds = 3"))
    train = CellJob.run

    def broken(job: CellJob, watch: object) -> object:
        if 1 in job.seeds:
            raise BioplausError("planted")
        return train(job, watch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(CellJob, "run", broken)
        done, _ = bench(suite, tmp_path / "r", max_replicas=1)
    assert sorted(r.seed for r in done.records) == [0, 0, 2, 2]
    failures = Store(tmp_path / "r").read_all().failures
    assert [(f.seeds, f.reason) for f in failures] == [([1], "planted")] * 2 == [
        (f.seeds, f.reason) for f in done.failures
    ]  # fmt: skip
    done, executor = bench(suite, tmp_path / "r", max_replicas=1)
    assert [job.seeds for job in executor.jobs if isinstance(job, CellJob)] == [(1,)] * 2
    found = Store(tmp_path / "r").read_all()
    assert len(found.records) == 6 and not found.failures and not done.failures


def test_a_tuning_whose_trials_all_fail_is_a_failure(tiny: Path, tmp_path: Path) -> None:
    def broken(self: object, *args: object) -> None:
        raise ZeroDivisionError("planted")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry.load("rule", "backprop"), "deltas", broken)
        done, _ = bench(suite_file(tiny), tmp_path / "r")
    (failure,) = done.failures
    assert failure.rule == "backprop" and "all 2 trials failed" in failure.reason
    assert {r.rule for r in done.records} == {"gaitprop"}


def test_seeds_of_a_broken_group_train_with_it_again() -> None:
    there = [make_record(seed=seed, provenance={"seeds_together": [0, 1, 2, 3]}) for seed in (0, 2)]
    groups = seed_groups([0, 1, 2, 3, 7, 8], [1, 3, 7, 8], there, 9)
    assert groups == [((0, 1, 2, 3), frozenset({1, 3})), ((7, 8), frozenset({7, 8}))]
    assert seed_groups([1, 2], [1, 2], [], 2) == [((1, 2), frozenset({1, 2}))]
    assert seed_groups([0, 5], [5], [make_record()], 2) == [((5,), frozenset({5}))]


def test_groups_of_seeds_do_not_hang_on_which_are_done() -> None:
    """As many as needed and of about one size; a second start finds those that are left."""
    seeds = list(range(10))
    whole = [((0, 1, 2, 3), {0, 1, 2, 3}), ((4, 5, 6), {4, 5, 6}), ((7, 8, 9), {7, 8, 9})]
    assert seed_groups(seeds, seeds, [], 4) == whole
    assert seed_groups(seeds, [0, 1, 2, 3, 7, 8, 9], [], 4) == [whole[0], whole[2]]
    assert seed_groups(seeds, [8], [], 1) == [((8,), {8})]
    assert seed_groups(seeds, [], [], 4) == []
