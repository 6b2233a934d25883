"""Whether a record's network is its best by validation, and it stopped as soon as its task says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bioplaus.records.metric import metric_of
from bioplaus.records.schema import EarlyStop, Record


def stopped_otherwise(record: Record) -> Iterator[str]:
    """What of its early stop cannot be, a few words each."""
    task = record.configuration["task"]
    early = task.get("early_stopping") if isinstance(task, Mapping) else None
    patience = early.get("patience") if isinstance(early, Mapping) else None
    if isinstance(patience, int) and record.status == "complete":
        if record.early_stop is None:
            yield "its task stops early, and it does not say when it did"
        else:
            yield from _otherwise(record, record.early_stop, patience, task.get("evaluate_every"))
    elif record.early_stop is not None:
        yield "it tells of an early stop where there is none"


def _otherwise(
    record: Record, stop: EarlyStop, patience: int, evaluate_every: object
) -> Iterator[str]:
    every = evaluate_every if isinstance(evaluate_every, int) else 1
    metric, after = metric_of(record.configuration), len(stop.validation_after)
    *before, kept = metric.curve(record, "validation") or [None]
    others = [metric.merit(v) for v in (*before, *stop.validation_after) if v is not None]
    if others and (kept is None or max(others) > metric.merit(kept)):
        yield "the network that is kept is not the best by its validation"
    least, most = (patience, patience + every) if stop.stopped_epoch else (0, patience)
    if not least <= after < most:
        how = "stopped" if stop.stopped_epoch else "did not stop"
        yield f"it {how} with {after} epochs after its best, and its patience is {patience}"
