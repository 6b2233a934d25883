"""Tunings and failures made by hand."""

from __future__ import annotations

from bioplaus.records.keys import digest
from bioplaus.records.schema import FailureRecord, Trial, Tuning, TuningBudget
from tests.helpers.records import make_record


def make_tuning(**changes: object) -> Tuning:
    configuration = {"rule": "backprop"}
    values: dict[str, object] = {
        "key": digest(configuration),
        "task": "toy",
        "rule": "backprop",
        "label": "",
        "budget": TuningBudget(trials=1, seeds=1, epochs=1),
        "space": {"optimizer.lr": "log-uniform from 0.1 to 1"},
        "trials": [
            Trial(number=0, settings={}, status="complete", validation_accuracy=0.5, seeds=[0.5])
        ],
        "chosen": {},
        "cell": make_record().cell,
        "configuration": configuration,
        "provenance": {},
    }
    return Tuning.model_validate(values | changes)


def make_failure(**changes: object) -> FailureRecord:
    record = make_record()
    values: dict[str, object] = {
        "cell": record.cell,
        "task": "toy",
        "rule": "backprop",
        "label": "",
        "seeds": [0, 1],
        "reason": "planted",
        "configuration": record.configuration,
        "provenance": {},
    }
    return FailureRecord.model_validate(values | changes)
