"""Curves of seeds that stopped early, and of seldom evaluations, on the page and in tables."""

from __future__ import annotations

import numpy as np

from bioplaus.analysis.boards import boards
from bioplaus.analysis.cells import Cell
from bioplaus.records.rows import to_rows
from bioplaus.records.schema import Curves, EarlyStop, Record, ResultSet
from bioplaus.reports.cell_measures import score_curve
from tests.helpers.pages import page_data, render
from tests.helpers.records import make_record


def stopped(seed: int, test: list[float | None], stop: int | None) -> Record:
    """A record whose curves end with its best network."""
    curves = Curves(
        metrics={"loss": [0.5] * len(test)}, validation_accuracy=test, test_accuracy=test,
        alignment={},
    )  # fmt: skip
    after = EarlyStop(stopped_epoch=stop, validation_after=[0.0])
    return make_record(seed=seed, test=test[-1], validation=test[-1], curves=curves,
                       early_stop=after)  # fmt: skip


def cell(*records: Record) -> Cell:
    (board,) = boards(ResultSet(records))
    return board.entries["backprop"]


def test_a_seed_that_stopped_keeps_its_result_in_the_mean() -> None:
    curve = score_curve(cell(stopped(0, [0.5, 0.75], 3), stopped(1, [0.25, 0.5, 0.25, 1.0], 5)))
    assert curve.mean.tolist() == [0.375, 0.625, 0.5, 0.875], "the last is the board's mean"


def test_between_evaluations_there_is_no_mean_of_some_seeds() -> None:
    """Every second epoch: what has stopped does not stand for all at the odd ones."""
    curve = score_curve(cell(stopped(0, [None, 0.5], 3), stopped(1, [None, 0.5, None, 1.0], 5)))
    assert np.isnan(curve.mean[[0, 2]]).all()
    assert curve.mean[[1, 3]].tolist() == [0.5, 0.75]


def test_the_page_and_the_rows_show_what_is_known() -> None:
    records = [stopped(0, [None, 0.5], 3), stopped(1, [None, 0.5, None, 1.0], 5)]
    rows = page_data(render(ResultSet(records)))["curves"]
    assert [row[3] for row in rows[1:]] == [2, 4], "epochs that were evaluated"
    assert [row["epochs"] for row in to_rows(records)] == [2, 4]


def test_files_without_an_early_stop_are_as_they_were() -> None:
    assert "early_stop" not in make_record().to_json()
    again = Record.model_validate_json(stopped(0, [0.5], None).to_json())
    assert again.early_stop == EarlyStop(stopped_epoch=None, validation_after=[0.0])
