"""What the page says of a cell: the command, steps to a target, curves."""

from __future__ import annotations

import pytest

from bioplaus.analysis.boards import boards
from bioplaus.records.schema import Record, ResultSet
from bioplaus.reports import cell_measures as measures
from tests.helpers.records import make_record


def test_the_command_reruns_the_cell() -> None:
    (board,) = boards(ResultSet([make_record(rule="good", seed=s) for s in (0, 1, 2, 7)]))
    (cell,) = board.cells
    assert measures.command(cell) == "bioplaus run --rule good --task toy --seeds 0-2,7"


def test_the_command_has_the_settings_and_is_safe_in_a_shell() -> None:
    record = make_record(rule="good", label="ortho=0.05 form=a;b optimizer.lr=0.1 epochs=3")
    configuration = {
        "options": {"ortho": 0.05, "form": "a; rm -rf $HOME", "other": 1},
        "optimizer": {"lr": 0.1, "name": "adam"},
        "epochs": 3,
        "precision": "fp64",
    }
    (board,) = boards(ResultSet([record.model_copy(update={"configuration": configuration})]))
    assert measures.command(board.cells[0]) == (
        "bioplaus run --rule good --task toy --seeds 0-0 --epochs 3 "
        "--set 'form=a; rm -rf $HOME' --set ortho=0.05 --set optimizer.lr=0.1 --precision fp64"
    )


def test_steps_to_a_target_by_hand() -> None:
    def seed(number: int, curve: list[float]) -> Record:
        record = make_record(seed=number)
        curves = record.curves.model_copy(update={"validation_accuracy": curve})
        content = {"task": {"batch_size": 30}, "data": {"sizes": {"train": 1200}}}
        return record.model_copy(update={"curves": curves, "configuration": content})

    curves = [[0.5, 0.9, 0.95], [0.91, 0.8, 0.9], [0.1, 0.2, 0.3]]
    (board,) = boards(ResultSet([seed(i, c) for i, c in enumerate(curves)]))
    # 40 steps an epoch: after 2 epochs, after 1, never
    assert measures.steps_to(board.cells[0], 0.9) == (80.0, 2, 3)
    assert measures.steps_to(board.cells[0], 0.92) == (float("inf"), 1, 3)


def test_a_curve_is_of_the_seeds_that_lived() -> None:
    gone = make_record(seed=1, diverged=True)
    curves = gone.curves.model_copy(update={"test_accuracy": [0.6, None]})
    (board,) = boards(
        ResultSet([make_record(test=0.8), gone.model_copy(update={"curves": curves})])
    )
    assert measures.score_curve(board.cells[0]).mean == pytest.approx([0.8, 0.8])


def test_a_rules_own_measure_is_the_last_epochs_of_the_seeds_that_lived() -> None:
    def seed(number: int, last: float | None, **fields: object) -> Record:
        made = make_record(seed=number, **fields)
        metrics = {**made.curves.metrics, "residual": [0.9, last]}
        return made.model_copy(
            update={"curves": made.curves.model_copy(update={"metrics": metrics})}
        )

    records = [seed(0, 0.1), seed(1, 0.3), seed(2, None)]
    (cell,) = boards(ResultSet(records=records))[0].cells
    assert measures.final_metric(cell, "residual") == pytest.approx(0.2)
    assert measures.final_metric(cell, "feedback_alignment") is None
