"""Rules that were tuned anew for each seed: one cell, whose interval holds the spread of tuning."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from scipy import stats

from bioplaus.analysis.boards import boards
from bioplaus.analysis.cells import cells
from bioplaus.analysis.statistics import mean_interval
from bioplaus.plugins import registry
from bioplaus.records.keys import digest, seed_key
from bioplaus.records.schema import ResultSet
from tests.helpers.boards import GOOD, WORSE, make_cell
from tests.helpers.boards import tuned as make_tuned
from tests.helpers.tunings import tuned_one_by_one


def test_seeds_with_settings_of_their_own_are_one_cell() -> None:
    records, tunings = tuned_one_by_one("a", GOOD)
    (cell,) = cells(ResultSet(records, tunings))
    assert [r.seed for r in cell.records] == [0, 1, 2, 3, 4] and len(cell.parts) == 5
    assert cell.origin == "tuned" and cell.budget == tunings[0].budget and cell.own_label == ""
    half = stats.t.ppf(0.975, 4) * statistics.stdev(GOOD) / 5**0.5
    assert cell.estimate is not None
    assert cell.estimate.low == pytest.approx(statistics.mean(GOOD) - half)


def test_they_are_ranked_among_others_of_their_budget() -> None:
    sides = tuned_one_by_one("good", GOOD), tuned_one_by_one("worse", WORSE)
    records = [record for side in sides for record in side[0]]
    tunings = [tuning for side in sides for tuning in side[1]]
    results = ResultSet(records, tunings)
    (board,) = boards(results)
    assert [s.cell.rule for s in board.standings] == ["good", "worse"]
    assert board.comparisons[0].better is board.entries["good"], "5 points, within 1 each"
    pytest.importorskip("jinja2", reason="the extra `report` is not installed")
    page = registry.load("report", "html")().render(results)
    assert "4 trials of 1 seed, 5 epochs, anew for each seed" in page


def test_a_seed_of_the_same_settings_that_was_run_by_hand_stays_apart() -> None:
    records, tunings = tuned_one_by_one("a", GOOD)
    first = records[0]
    other = first.model_copy(update={"seed": 7, "key": seed_key(first.cell, 7)})
    found = cells(ResultSet([*records, other], tunings))
    assert sorted([r.seed for r in c.records] for c in found) == [[0, 1, 2, 3, 4], [0, 7]]


def test_its_interval_covers_what_the_whole_way_gives() -> None:
    """Search and training drawn 4,000 times: where the search has a spread of 2 points and
    training one of half a point, one search for all seeds covers hardly a third."""
    rng, truth, seeds = np.random.default_rng(0), 0.9, 5
    covered = {"each": 0, "once": 0}
    for _ in range(4000):
        training = rng.normal(0, 0.005, seeds)
        for name, searches in (("each", seeds), ("once", 1)):
            scores = truth + rng.normal(0, 0.02, searches) + training
            found = mean_interval(list(scores))
            covered[name] += found.low <= truth <= found.high
    # 95 % with a standard error of .34 % over 4,000
    assert abs(covered["each"] / 4000 - 0.95) < 0.014
    assert covered["once"] / 4000 < 0.4


def test_what_a_suite_set_by_hand_keeps_variants_apart() -> None:
    records, tunings = [], []
    for value in (1, 2):
        made, chosen = tuned_one_by_one("a", GOOD)
        for record, tuning in zip(made, chosen, strict=True):
            content = {**record.configuration, "options": {"x": value}}
            cell = digest(content)
            records.append(record.model_copy(update={
                "configuration": content, "cell": cell, "key": seed_key(cell, record.seed)
            }))  # fmt: skip
            search = {**tuning.configuration, "options": {"x": value}}
            update = {"cell": cell, "key": digest({"cell": cell}), "configuration": search}
            tunings.append(tuning.model_copy(update=update))
    found = cells(ResultSet(records, tunings))
    assert [[r.configuration["options"]["x"] for r in c.records] for c in found] in (
        [[1] * 5, [2] * 5], [[2] * 5, [1] * 5],
    )  # fmt: skip


def test_a_cell_that_an_ordinary_tuning_chose_too_is_kept() -> None:
    records = make_cell("a", GOOD)
    each = [
        tuned_one_by_one("a", GOOD)[1][seed].model_copy(
            update={"cell": records[0].cell, "key": digest({"seed": seed})}
        )
        for seed in range(5)
    ]
    both = cells(ResultSet(records, [*each, make_tuned(records)]))
    assert sorted(bool(c.budget and c.budget.each_seed) for c in both) == [False, True]
    assert all(len(c.records) == 5 for c in both)


def test_no_seed_of_another_run_of_the_chosen_settings_is_missed() -> None:
    records, tunings = tuned_one_by_one("a", GOOD)
    longer = {**records[0].provenance, "seeds_together": list(range(10))}
    records[0] = records[0].model_copy(update={"provenance": longer})
    (cell,) = cells(ResultSet(records, tunings))
    assert cell.absent == [] and cell.why_not_ranked == ""
