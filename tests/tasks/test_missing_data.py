"""Data that are not there are the data set's error."""

from __future__ import annotations

import pytest

from bioplaus.errors import DataError
from bioplaus.plugins import registry
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import read_task


def test_missing_data_is_the_data_sets_error(monkeypatch: pytest.MonkeyPatch) -> None:
    task = read_task("digits-square")

    def missing(self: object, split: str) -> Split:
        raise DataError("not here")

    monkeypatch.setattr(registry.load("dataset", "digits"), "load", missing)
    with pytest.raises(DataError, match="not here"):
        task.load_training_data()
