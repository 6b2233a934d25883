"""Cells of records made by hand, for the analysis."""

from __future__ import annotations

from typing import Any

from bioplaus.records.schema import Record, digest, seed_key
from tests.helpers.records import make_record

GOOD = [0.95, 0.96, 0.955, 0.94, 0.95]
WORSE = [0.91, 0.91, 0.905, 0.88, 0.90]


def cell(
    rule: str, scores: list[float], first: int = 0, epochs: int = 10, **changes: Any
) -> list[Record]:
    """One record per score, with the configuration that a run writes."""
    made = []
    for seed, score in enumerate(scores, first):
        record = make_record(rule=rule, seed=seed, test=score, **changes)
        configuration = {**record.configuration, "task": {"loss": "mse"}, "epochs": epochs}
        key = digest(configuration)
        update = {"configuration": configuration, "cell": key, "key": seed_key(key, seed)}
        made.append(record.model_copy(update=update))
    return made
