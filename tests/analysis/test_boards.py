"""Which cells are compared, which stands for a rule, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioplaus.analysis.aggregate import aggregate, largest_block
from bioplaus.analysis.boards import Board, boards, difference
from bioplaus.analysis.pairwise import contrasts, over_all
from bioplaus.errors import RecordError, UnknownNameError
from bioplaus.records.schema import Record, ResultSet
from bioplaus.records.store import Store
from tests.helpers.cells import GOOD, WORSE, cell


def only(*groups: list[Record]) -> Board:
    (board,) = boards(ResultSet([record for group in groups for record in group]))
    return board


def test_other_epochs_are_another_board() -> None:
    both = boards(ResultSet(cell("a", GOOD) + cell("b", WORSE) + cell("a", GOOD, epochs=50)))
    assert {b.title: sorted(b.entries) for b in both} == {
        "toy, 10 epochs": ["a", "b"],
        "toy, 50 epochs": ["a"],
    }


def test_the_default_stands_for_a_rule_and_not_the_best_on_the_test_split() -> None:
    default = cell("a", WORSE, label="epochs=10", validation=0.5)
    lucky = cell("a", GOOD, label="lr=1 epochs=10", validation=0.9)
    board = only(default, lucky)
    assert len(board.cells) == 2
    assert board.entries["a"].label == "epochs=10"


def test_without_a_default_validation_chooses_and_the_test_split_does_not() -> None:
    lucky = cell("a", GOOD, label="lr=1", validation=0.5)
    valid = cell("a", WORSE, label="lr=2", validation=0.9)
    assert only(lucky, valid).entries["a"].label == "lr=2"


def test_a_diverged_seed_counts_as_nothing_right() -> None:
    records = cell("a", GOOD[:4]) + cell("a", [0.9], first=4, diverged=True)
    (entry,) = only(records).entries.values()
    assert entry.scores()[4] == 0.0 and entry.diverged == [4]
    assert entry.estimate and entry.estimate.value == pytest.approx(sum(GOOD[:4]) / 5)


def test_a_seed_without_a_record_makes_a_cell_incomplete() -> None:
    together = {"seeds_together": [0, 1, 2, 3, 4]}
    board = only(cell("a", GOOD[:3], provenance=together), cell("b", WORSE))
    a, b = board.entries["a"], board.entries["b"]
    assert a.absent == [3, 4] and not board.complete(a)
    assert b.absent == [] and board.complete(b)
    fewer = only(cell("a", GOOD[:3]), cell("b", WORSE))
    assert not fewer.complete(fewer.entries["a"]), "fewer than the others have"


def test_seeds_pair_where_most_are_shared() -> None:
    a = dict(enumerate(GOOD))
    for first, paired in ((0, True), (2, True), (3, False), (5, False)):
        found = difference(a, dict(enumerate(WORSE, first)))
        assert found is not None and found.paired is paired
    assert difference(a, {0: 0.5}) is None


def test_standings_name_the_places_of_a_tie_group() -> None:
    twin = [s + d for s, d in zip(GOOD, [0.001, -0.001, 0.001, 0, -0.001], strict=True)]
    board = only(cell("a", GOOD), cell("b", twin), cell("c", WORSE), cell("d", [0.5]))
    places = {s.cell.rule: (s.group, s.first, s.last) for s in board.standings}
    assert places == {"a": (1, 1, 2), "b": (1, 1, 2), "c": (2, 3, 3)}, "one seed has no place"


def test_the_largest_full_block() -> None:
    coverage = {"a": {0, 1, 2}, "b": {0, 1}, "c": {0, 1}, "d": {2, 3}, "e": {3}}
    assert largest_block(coverage) == (["a", "b", "c"], [0, 1])
    assert largest_block({"a": {0, 1}, "b": {2, 3}}) is None


def test_aggregates_are_over_tasks_that_all_have() -> None:
    records = [
        *cell("a", GOOD, task="t0"), *cell("b", WORSE, task="t0"), *cell("c", GOOD, task="t0"),
        *cell("a", GOOD, task="t1"), *cell("b", WORSE, task="t1"), *cell("c", GOOD[:3], task="t1"),
    ]  # fmt: skip
    found = aggregate(boards(ResultSet(records)))
    assert found is not None
    assert [b.task for b in found.boards] == ["t0", "t1"]
    assert found.rules_left_out == ("c",), "incomplete on t1"
    best, worst = found.rules
    assert (best.rule, best.group, best.mean_rank) == ("a", 1, 1.0)
    assert (worst.rule, worst.group, worst.mean_rank) == ("b", 2, 2.0)
    assert best.accuracy == pytest.approx(0.951) and worst.accuracy == pytest.approx(0.901)


def test_the_order_of_records_does_not_matter() -> None:
    records = cell("a", GOOD) + cell("b", WORSE) + cell("a", GOOD, label="z")
    assert boards(ResultSet(records)) == boards(ResultSet(records[::-1]))


def test_a_contrast_in_words() -> None:
    found = contrasts([only(cell("a", GOOD), cell("b", WORSE))], "b", "a")
    (one,) = found
    assert one.difference and one.difference.value == pytest.approx(-0.05)
    # differences 4, 5, 5, 6, 5 points: 5 ± 2.776 sqrt(0.5 / 5)
    assert one.verdict == "a is better than b, by 4.1 to 5.9 points"
    assert over_all(found) is None
    (same,) = contrasts([only(cell("a", GOOD), cell("b", GOOD[::-1]))], "a", "b")
    assert same.verdict.startswith("not separated: from -")
    (few,) = contrasts([only(cell("a", GOOD), cell("b", WORSE[:1]))], "a", "b")
    assert few.difference is None and few.verdict.startswith("too few seeds")


def test_unknown_and_apart() -> None:
    apart = boards(ResultSet(cell("a", GOOD, task="x") + cell("b", WORSE, task="y")))
    with pytest.raises(UnknownNameError, match="'c'"):
        contrasts(apart, "a", "c")
    with pytest.raises(RecordError, match="run both"):
        contrasts(apart, "a", "b")


def test_backprop_against_itself_on_other_seeds(tmp_path: Path) -> None:
    """Trained for real: two identical rules with disjoint seeds are one tie group."""
    from bioplaus.api.training import run

    run("backprop", "digits-square", range(10), epochs=2, results=tmp_path)
    records = Store(tmp_path).read_all().records
    twins = [r.model_copy(update={"rule": "twin"}) if r.seed > 4 else r for r in records]
    (board,) = boards(ResultSet(twins))
    assert [len(s.cell.records) for s in board.standings] == [5, 5]
    assert [s.group for s in board.standings] == [1, 1]
    (found,) = contrasts([board], "backprop", "twin")
    assert found.difference is not None and not found.difference.paired
    assert found.difference.low < 0 < found.difference.high
