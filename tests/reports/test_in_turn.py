"""What the page and the summary say of experiences that were learned in turn."""

from __future__ import annotations

import math

import pytest

from bioplaus.analysis.boards import boards
from bioplaus.records.schema import Record, ResultSet
from bioplaus.reports import cell_measures as measures
from bioplaus.reports.leaderboard import board_table
from bioplaus.reports.summary import rows
from tests.helpers.records import make_record

IN_TURN = {"kind": "split", "experiences": 2}


def seed(number: int, accuracy: float, transfer: float, forgetting: float) -> Record:
    made = make_record(seed=number, test=None, epochs=2)
    metrics = {
        "test_average_accuracy": [0.5, accuracy],
        "test_backward_transfer": [None, transfer],
        "test_forgetting": [None, forgetting],
    }
    curves = made.curves.model_copy(update={"metrics": made.curves.metrics | metrics})
    content = {"task": {"batch_size": 30, "continual": IN_TURN}, "data": {"sizes": {"train": 900}}}
    return made.model_copy(update={"curves": curves, "configuration": content})


RECORDS = ResultSet([seed(0, 0.6, -0.8, 0.82), seed(1, 0.4, -0.6, 0.62)])


def test_the_board_has_the_means_of_what_was_lost() -> None:
    (board,) = boards(RECORDS)
    table = board_table(board, 0)
    (line,) = [*table.lines, *table.others]
    shown = {c.name: e.text for c, e in zip(table.columns, line.entries, strict=True)}
    assert shown["Backward (%)"] == "-70.00" and shown["Forgetting (%)"] == "72.00"
    assert "50.00" in shown["Test average accuracy (%)"]
    # epochs of a split are as long as the fewest examples of an experience allow: not told
    assert math.isnan(measures.steps_to(board.cells[0], 0.1).median)


def test_boards_without_experiences_have_no_such_columns() -> None:
    (board,) = boards(ResultSet([make_record(seed=s) for s in (0, 1)]))
    names = {column.name for column in board_table(board, 0).columns}
    assert names.isdisjoint({"Backward (%)", "Forgetting (%)"})


def test_the_summary_has_the_means_and_which_metric() -> None:
    (row,) = rows(RECORDS.records)
    assert row["metric"] == "average_accuracy"
    assert row["test_score"] == pytest.approx(0.5)
    assert row["backward_transfer"] == pytest.approx(-0.7)
    assert row["forgetting"] == pytest.approx(0.72)
