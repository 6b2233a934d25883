"""What decides between two rules: noise gains nothing, and one function says it everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from bioplaus.analysis.boards import boards
from bioplaus.analysis.field import field
from bioplaus.analysis.pairwise import contrasts
from bioplaus.analysis.ranking import PAIRED_FROM, difference
from bioplaus.records.schema import ResultSet
from tests.helpers.boards import SPREADS, drawn, make_cell, only, simulated_board, tuned

STEADY = [0.963, 0.962, 0.964, 0.963, 0.963]
NOISY = [0.981, 0.982, 0.9805, 0.9815, None]
"""One of five diverged; the others do better than the steady rule."""
WORSE = [0.90, 0.91, 0.905, 0.895, 0.90]


def test_seeds_pair_from_ten_on_where_they_are_the_same() -> None:
    """By a rule that looks at the number of seeds alone."""
    rng = np.random.default_rng(0)
    for seeds, first, paired in ((5, 0, False), (10, 0, True), (12, 0, True), (12, 1, False)):
        a, b = (dict(enumerate(drawn(rng, 0.9, 0.01, seeds), k)) for k in (0, first))
        found = difference(a, b)
        assert found is not None and found.paired is paired
        means = [sum(s.values()) / seeds for s in (a, b)]
        assert found.value == pytest.approx(means[0] - means[1]), "always of the means shown"
    assert PAIRED_FROM == 10
    assert difference({0: 0.5, 1: 0.6}, {0: 0.5}) is None


def test_a_rule_that_loses_seeds_never_outranks_a_steady_one() -> None:
    board = only(make_cell("noisy", NOISY), make_cell("steady", STEADY), make_cell("low", WORSE))
    order = [s.cell.rule for s in board.standings]
    assert order == ["steady", "low", "noisy"], ".98 of four in five is .785 of a new seed"
    at = {s.cell.rule: s for s in board.standings}
    assert at["steady"].leads and not at["noisy"].leads
    assert at["steady"].first <= at["noisy"].first
    assert not any(c.better and c.better.rule == "noisy" for c in board.comparisons)
    whole = field([board])
    assert [o.rule for o in whole.standings] == order and not whole.standings[2].leads


def test_a_wide_spread_is_no_gain_either() -> None:
    """The first place of a rule depends on what beats it; being bold also on what it beats."""
    wild = [0.99, 0.2, 0.99, 0.6, 0.98]
    board = only(make_cell("wild", wild), make_cell("good", STEADY), make_cell("low", WORSE))
    at = {s.cell.rule: s for s in board.standings}
    assert [s.cell.rule for s in board.standings] == ["good", "low", "wild"]
    assert (at["wild"].first, at["wild"].last) == (1, 3) and not at["wild"].leads
    assert (at["good"].first, at["good"].last) == (1, 2) and at["good"].leads
    assert [c.estimate.high <= 1 for c in board.entries.values() if c.estimate] == [True] * 3


def test_a_rule_below_another_is_not_bold_because_it_beats_a_third() -> None:
    board = only(make_cell("a", STEADY), make_cell("b", WORSE), make_cell("c", [0.5, 0.51, 0.49]))
    assert [(s.first, s.last, s.leads) for s in board.standings] == [
        (1, 1, True), (2, 2, False), (3, 3, False),
    ]  # fmt: skip


def test_planted_twins_tie() -> None:
    """Forty boards of twelve rules and a twin of one of them: in 95 % nothing separates twins."""
    rng = np.random.default_rng(8)
    tied = []
    for _ in range(40):
        spreads = rng.choice(SPREADS, 13)
        means = [0.97, 0.97, *(0.98 - 0.02 * rng.random(11))]
        names = ["twin", "other", *(f"rule{i}" for i in range(11))]
        board = only(*(
            make_cell(n, drawn(rng, m, s), first=5 * (n == "other"))
            for n, m, s in zip(names, means, spreads, strict=True)
        ))  # fmt: skip
        found = board.compare(board.entries["twin"], board.entries["other"])
        tied.append(found.better is None)
    assert np.mean(tied) >= 0.9


def test_the_places_of_seventeen_rules_cover() -> None:
    """All 17 at once; `python -m tests.helpers.boards 2000` is the long run."""
    rng = np.random.default_rng(5)
    covered = [simulated_board(rng) for _ in range(150)]
    # three standard errors of a share of 150 about 95 % are 5.3 points
    assert np.mean(covered) >= 0.897


def test_compare_says_what_the_board_shows() -> None:
    """On forty boards of eight rules: no verdict that the places contradict."""
    rng = np.random.default_rng(4)
    said = set()
    for _ in range(40):
        records = [
            r for i in range(8)
            for r in make_cell(f"rule{i}", drawn(rng, 0.98 - 0.004 * i, rng.choice(SPREADS)),
                               first=int(rng.integers(0, 3)))
        ]  # fmt: skip
        made = boards(ResultSet(records))
        at = {s.cell.rule: s for s in made[0].standings}
        for a, b in (("rule0", "rule4"), ("rule6", "rule1"), ("rule2", "rule3")):
            (found,) = contrasts(made, a, b)
            c, words = found.comparison, found.verdict
            said.add(words.partition(" (")[0][:13])
            if c.better is None:
                assert words.startswith("not separated")
                continue
            winner = c.better.rule
            loser = b if winner == a else a
            assert words.startswith(f"{winner} is better than {loser}")
            assert (c.difference is not None) and (c.difference.value > 0) == (winner == a)
            assert at[winner].last < len(at) and at[loser].first > 1
            assert contrasts(made, b, a)[0].verdict == words, "the same from the other side"
    assert len(said) > 1


def test_identical_results_read_as_such() -> None:
    (found,) = contrasts([only(make_cell("a", [0.5] * 5), make_cell("b", [0.5] * 5))], "a", "b")
    assert found.verdict == "not separated: the same results"


def test_a_gap_below_the_test_sets_own_error_is_named() -> None:
    board = only(make_cell("a", [0.9640] * 4 + [0.9641]), make_cell("b", [0.9600] * 4 + [0.9601]))
    (found,) = contrasts([board], "a", "b")
    error = (0.962 * 0.038 / 360) ** 0.5
    assert found.comparison.test_error == pytest.approx(error, rel=1e-3)
    assert found.verdict.startswith("a is better"), "of seeds; not of test sets"
    assert any("1.0 points" in note and "360 test examples" in note for note in found.caveats)


def test_another_tuning_budget_is_another_board() -> None:
    a, b, c = make_cell("a", STEADY), make_cell("b", WORSE), make_cell("c", WORSE)
    d = make_cell("d", WORSE)
    made = boards(ResultSet([*a, *b, *c, *d], [tuned(a, 16), tuned(b, 2)]))
    assert {b.title: sorted(b.entries) for b in made} == {
        "toy, not tuned": ["c", "d"],
        "toy, 2 trials of 2 seeds, 20 epochs": ["b"],
        "toy, 16 trials of 2 seeds, 20 epochs": ["a"],
    }
    (found,) = contrasts(made, "a", "c")
    assert found.comparison.adjusted is None
    assert any("not an equal chance" in note for note in found.caveats)


def test_what_was_set_by_hand_has_no_place_beside_what_was_tuned() -> None:
    a, b = make_cell("a", WORSE), make_cell("b", WORSE)
    by_hand = make_cell("a", STEADY, label="lr=1"), make_cell("c", STEADY, label="lr=2")
    board = only(a, b, *by_hand, tunings=[tuned(a), tuned(b)])
    assert sorted(s.cell.rule for s in board.standings) == ["a", "b"]
    assert board.entries["a"].label == "", "what the tuning chose stands for the rule"
    why = "set by hand: not ranked beside tuned ones"
    assert board.why_not_ranked(board.entries["c"]) == why


def test_one_configuration_chosen_with_two_budgets_stands_on_both_boards() -> None:
    a, b, c = make_cell("a", STEADY), make_cell("b", WORSE), make_cell("c", WORSE)
    made = boards(ResultSet([*a, *b, *c], [tuned(a, 16), tuned(a, 2), tuned(b, 2), tuned(c, 16)]))
    assert [sorted(b.entries) for b in made] == [["a", "b"], ["a", "c"]]


def test_other_sources_of_a_rule_are_not_averaged() -> None:
    one, two = (
        make_cell("a", scores, first=first, provenance={"rule": {"sha256": source * 64}})
        for scores, first, source in ((STEADY, 0, "a"), (WORSE[:4], 5, "b"))
    )
    board = only(one, two, make_cell("b", WORSE))
    assert [len(c.records) for c in board.cells if c.rule == "a"] == [5, 4]
    entry = board.entries["a"]
    assert entry.source == "a" * 64, "the one with the most records stands for the rule"
    assert entry.estimate and entry.estimate.value == pytest.approx(np.mean(STEADY))


def test_copied_seeds_are_named_and_have_no_place() -> None:
    records = make_cell("a", STEADY)
    learned = [
        r.model_copy(update={"curves": r.curves.model_copy(
            update={"metrics": {"loss": [0.5, 0.1 + 0.01 * r.seed]}})}) for r in records
    ]  # fmt: skip
    best = learned[2]
    copies = [best.model_copy(update={"seed": s}) for s in (5, 6)]
    board = only([*learned, *copies], make_cell("b", WORSE))
    assert board.entries["a"].copies == [[2, 5, 6]]
    assert [s.cell.rule for s in board.standings] == ["b"]
    assert "copies" in board.entries["a"].why_not_ranked
    assert only(learned).entries["a"].copies == []


def test_who_leaves_seeds_out_has_no_place() -> None:
    together = {"seeds_together": [0, 1, 2, 3, 4]}
    board = only(make_cell("a", STEADY[:3], provenance=together), make_cell("b", WORSE))
    assert [s.cell.rule for s in board.standings] == ["b"]
    assert board.entries["a"].why_not_ranked == "incomplete, without seed 3, 4: not ranked"
