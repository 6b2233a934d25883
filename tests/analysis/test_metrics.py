"""Boards of another metric than accuracy: what it is, and which way is better."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bioplaus.analysis.boards import boards
from bioplaus.analysis.field import field
from bioplaus.analysis.pairwise import contrasts
from bioplaus.benchmark.jobs import finished_trial
from bioplaus.benchmark.tuning import choose
from bioplaus.plugins import registry
from bioplaus.records.consistency import contradictions
from bioplaus.records.metric import ACCURACY, LOSS, R2, Metric, metric_of_task
from bioplaus.records.schema import ResultSet, TuningBudget
from tests.helpers.boards import make_cell
from tests.helpers.metrics import HIGH, LOSSES, LOW, VALUES, cell
from tests.helpers.tunings import make_tuning


@pytest.mark.parametrize(("content", "best"), [(VALUES, "high"), (LOSSES, "low")])
def test_the_better_rule_is_the_one_that_the_metric_says(
    content: dict[str, Any], best: str
) -> None:
    low = [abs(v) for v in LOW]
    results = ResultSet([*cell("high", content, HIGH), *cell("low", content, low)])
    (board,) = boards(results)
    assert board.metric == metric_of_task(content)
    first, last = board.standings
    assert (first.cell.rule, first.leads, last.leads) == (best, True, False)
    (comparison,) = board.comparisons
    assert comparison.better is not None and comparison.better.rule == best
    (joint,) = {j.better for j in field([board]).joints.values()}
    assert joint == best
    (contrast,) = contrasts([board], "high", "low")
    assert contrast.verdict.startswith(f"{best} is better than")
    assert contrast.probability is not None
    assert contrast.probability.value == (1.0 if best == "high" else 0.0)
    assert contrast.row()["metric"] == board.metric.name


def test_an_interval_of_r2_may_lie_below_nothing_but_not_above_one() -> None:
    (board,) = boards(ResultSet(cell("a", VALUES, [-0.5, -0.7, 0.999, 0.99, 0.9])))
    found = board.cells[0].estimate
    assert found is not None and found.low < 0 and found.high <= 1


@pytest.mark.parametrize(("content", "kept"), [(VALUES, 0.8), (LOSSES, 0.3)])
def test_who_loses_seeds_stands_below_who_keeps_them(content: dict[str, Any], kept: float) -> None:
    lossy = [kept + 0.001, kept + 0.002, None, None, None]
    if content is LOSSES:
        lossy = [kept - 0.001, kept - 0.002, None, None, None]
    steady = [kept, kept + 0.001, kept - 0.001, kept, kept]
    (board,) = boards(ResultSet([*cell("l", content, lossy), *cell("s", content, steady)]))
    assert [s.cell.rule for s in board.standings] == ["s", "l"]


def test_points_of_one_metric_are_not_added_to_those_of_another() -> None:
    values = [*cell("a", VALUES, HIGH), *cell("b", VALUES, LOW)]
    values = [r.model_copy(update={"task": "values"}) for r in values]
    classes = [
        r.model_copy(update={"task": name})
        for name in ("one", "two")
        for rule in "ab"
        for r in make_cell(rule, HIGH)
    ]
    whole = field(boards(ResultSet([*values, *classes])))
    assert [b.task for b in whole.boards] == ["one", "two"] and whole.metric == ACCURACY


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "csv", "json", "html"])
@pytest.mark.parametrize("content", [VALUES, LOSSES])
def test_every_report_shows_the_metric(form: str, content: dict[str, Any]) -> None:
    results = ResultSet([*cell("backprop", content, HIGH), *cell("other", content, LOW)])
    text = registry.load("report", form)().render(results)
    mean = 0.816
    shown = {"csv": "0.816", "json": "0.816"}.get(form, "81.60" if content is VALUES else "0.816")
    assert shown in text, mean
    heading = {"csv": "test_score", "json": "test_score"}.get(form, metric_of_task(content).heading)
    assert heading.replace("%", r"\%" if form == "latex" else "%") in text


def test_a_tuning_chooses_by_the_metric_and_never_what_diverged() -> None:
    for metric, best in ((R2, 1), (LOSS, 0)):
        trials = [
            finished_trial(0, {}, [0.1, 0.2], metric),
            finished_trial(1, {"lr": 2}, [0.5, 0.6], metric),
            finished_trial(2, {"lr": 3}, [0.0 if metric == LOSS else 0.9, None], metric),
        ]
        assert trials[2].validation_accuracy is None and trials[2].status == "diverged"
        assert choose(trials, metric).number == best
        content = {"rule": "backprop", "task": VALUES if metric == R2 else LOSSES}
        tuning = make_tuning(
            trials=trials, chosen=trials[best].settings, configuration=content,
            budget=TuningBudget(trials=3, seeds=2, epochs=1), space={"lr": "1 to 9"},
        )  # fmt: skip
        assert contradictions(tuning) == []
        other = tuning.model_copy(update={"chosen": trials[1 - best].settings})
        assert contradictions(other) == [f"trial {best} is the best, and another was chosen"]


@pytest.mark.parametrize("metric", [ACCURACY, R2, LOSS])
def test_a_metric_in_words(metric: Metric) -> None:
    assert metric.merit(metric.worst) == min(metric.merit(metric.least), metric.merit(metric.most))
    assert metric.text(0.25) == ("0.25" if metric == LOSS else "25.00 %")
    assert metric.expected(0.4, 0.5) < metric.merit(0.4)
    assert R2.expected(-0.4, 0.5) < -0.4 and not math.isnan(metric.expected(0.0, 0.5))
