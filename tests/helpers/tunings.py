"""Tunings and failures made by hand."""

from __future__ import annotations

from collections.abc import Sequence

from bioplaus.records.keys import digest, seed_key
from bioplaus.records.schema import FailureRecord, Record, Trial, Tuning, TuningBudget
from tests.helpers.boards import make_cell
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


def tuned_one_by_one(rule: str, scores: Sequence[float]) -> tuple[list[Record], list[Tuning]]:
    """Each seed with a learning rate of its own, and the tuning that chose it."""
    records, tunings = [], []
    for record in make_cell(rule, scores):
        content = {**record.configuration, "optimizer": {"lr": 0.01 * (1 + record.seed)}}
        cell = digest(content)
        update = {"configuration": content, "cell": cell, "key": seed_key(cell, record.seed),
                  "label": f"optimizer.lr={0.01 * (1 + record.seed)}"}  # fmt: skip
        records.append(record.model_copy(update=update))
        tunings.append(Tuning(
            key=digest({"cell": cell}), task=record.task, rule=rule, label="",
            budget={"trials": 4, "seeds": 1, "epochs": 5, "each_seed": True}, space={}, trials=[],
            chosen={}, cell=cell, configuration={"study": record.seed}, provenance={},
        ))  # type: ignore[arg-type]  # fmt: skip
    return records, tunings
