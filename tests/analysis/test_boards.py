"""Which cells are compared, which stands for a rule, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import scipy.stats

from bioplaus.analysis.aggregate import aggregate, largest_block
from bioplaus.analysis.boards import boards
from bioplaus.analysis.field import field
from bioplaus.analysis.pairwise import contrasts, over_all
from bioplaus.errors import RecordError, UnknownNameError
from bioplaus.records.schema import ResultSet
from bioplaus.records.store import Store
from tests.helpers.boards import GOOD, WORSE, make_cell, only


def test_other_epochs_are_another_board() -> None:
    both = boards(
        ResultSet(make_cell("a", GOOD) + make_cell("b", WORSE) + make_cell("a", GOOD, epochs=50))
    )
    assert {b.title: sorted(b.entries) for b in both} == {
        "toy, 10 epochs": ["a", "b"],
        "toy, 50 epochs": ["a"],
    }


def test_the_default_stands_for_a_rule_and_not_the_best_on_the_test_split() -> None:
    default = make_cell("a", WORSE, label="epochs=10", validation=0.5)
    lucky = make_cell("a", GOOD, label="lr=1 epochs=10", validation=0.9)
    board = only(default, lucky)
    assert len(board.cells) == 2
    assert board.entries["a"].label == "epochs=10"


def test_without_a_default_validation_chooses_and_the_test_split_does_not() -> None:
    lucky = make_cell("a", GOOD, label="lr=1", validation=0.5)
    valid = make_cell("a", WORSE, label="lr=2", validation=0.9)
    assert only(lucky, valid).entries["a"].label == "lr=2"


def test_accuracy_is_of_the_seeds_that_lived_and_the_share_that_diverged_stands_beside() -> None:
    records = make_cell("a", [*GOOD[:4], None])
    (entry,) = only(records).entries.values()
    assert entry.diverged == [4] and entry.diverged_share == 0.2
    assert entry.estimate and entry.estimate.value == pytest.approx(sum(GOOD[:4]) / 4)
    assert entry.absent == [], "there is a record, and it says so"


def test_a_seed_without_a_record_makes_a_cell_incomplete() -> None:
    together = {"seeds_together": [0, 1, 2, 3, 4]}
    board = only(make_cell("a", GOOD[:3], provenance=together), make_cell("b", WORSE))
    a, b = board.entries["a"], board.entries["b"]
    assert a.absent == [3, 4] and not board.complete(a)
    assert b.absent == [] and board.complete(b)
    fewer = only(make_cell("a", GOOD[:3]), make_cell("b", WORSE))
    assert not fewer.complete(fewer.entries["a"]), "fewer than the others have"


def test_the_largest_full_block() -> None:
    coverage = {"a": {0, 1, 2}, "b": {0, 1}, "c": {0, 1}, "d": {2, 3}, "e": {3}}
    assert largest_block(coverage) == (["a", "b", "c"], [0, 1])
    assert largest_block({"a": {0, 1}, "b": {2, 3}}) is None


def test_aggregates_are_over_tasks_that_all_have() -> None:
    records = [
        record
        for task, fewer in (("t0", 5), ("t1", 3))
        for rule, scores in (("a", GOOD), ("b", WORSE), ("c", GOOD[:fewer]))
        for record in make_cell(rule, scores, task=task)
    ]
    whole = field(boards(ResultSet(records)))
    found = aggregate(whole)
    assert found is not None
    assert [b.task for b in found.boards] == ["t0", "t1"]
    assert found.rules_left_out == ("c",), "fewer seeds on t1; it is ranked all the same"
    assert [r.rule for r in found.rules] == ["a", "b"]
    places = {o.rule: (len(o.cells), o.first, o.last) for o in whole.standings}
    assert places == {"a": (2, 1, 2), "b": (2, 3, 3), "c": (2, 1, 2)}
    assert whole.joints["a", "b"].difference.value == pytest.approx(0.05)
    # 5 points on the one task; on the other .955 of three seeds, 5.4 points
    assert whole.joints["b", "c"].difference.value == pytest.approx(-0.052)


def test_the_order_of_records_does_not_matter() -> None:
    records = make_cell("a", GOOD) + make_cell("b", WORSE) + make_cell("a", GOOD, label="z")
    assert boards(ResultSet(records)) == boards(ResultSet(records[::-1]))


def test_a_contrast_in_words() -> None:
    found = contrasts([only(make_cell("a", GOOD), make_cell("b", WORSE))], "b", "a")
    (one,) = found
    assert one.difference and one.difference.value == pytest.approx(-0.05)
    low, high = welch(GOOD, WORSE)
    assert one.verdict == f"a is better than b, by {low:.1f} to {high:.1f} points"
    assert over_all([one.board], found) is None
    (same,) = contrasts([only(make_cell("a", GOOD), make_cell("b", GOOD[::-1]))], "a", "b")
    assert same.verdict.startswith("not separated: from -")
    (few,) = contrasts([only(make_cell("a", GOOD), make_cell("b", WORSE[:1]))], "a", "b")
    assert few.difference is None and few.verdict.startswith("too few seeds")


def test_unknown_and_apart() -> None:
    apart = boards(ResultSet(make_cell("a", GOOD, task="x") + make_cell("b", WORSE, task="y")))
    with pytest.raises(UnknownNameError, match="'c'"):
        contrasts(apart, "a", "c")
    with pytest.raises(RecordError, match="run both"):
        contrasts(apart, "a", "b")


def welch(a: list[float], b: list[float]) -> tuple[float, float]:
    """scipy's 95 % interval of the difference, in points."""
    found = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return 100 * found.low, 100 * found.high


def test_backprop_against_itself_on_other_seeds(tmp_path: Path) -> None:
    """Trained for real: two identical rules with disjoint seeds are one tie group."""
    from bioplaus.api.training import run

    run("backprop", "digits-square", range(10), epochs=2, results=tmp_path)
    records = Store(tmp_path).read_all().records
    alone = {k: v for k, v in records[0].provenance.items() if k != "seeds_together"}
    records = [r.model_copy(update={"provenance": alone}) for r in records]
    twins = [r.model_copy(update={"rule": "twin"}) if r.seed > 4 else r for r in records]
    (board,) = boards(ResultSet(twins))
    assert [len(s.cell.records) for s in board.standings] == [5, 5]
    assert [(s.first, s.last) for s in board.standings] == [(1, 2), (1, 2)]
    (found,) = contrasts([board], "backprop", "twin")
    assert found.difference is not None and not found.difference.paired
    assert found.difference.low < 0 < found.difference.high
