"""Records made by hand, for the tests of the store and of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bioplaus.records.keys import digest, seed_key
from bioplaus.records.schema import Curves, Record, Timing


def make_record(
    *,
    task: str = "toy",
    rule: str = "backprop",
    seed: int = 0,
    label: str = "",
    options: dict[str, Any] | None = None,
    test: float | None = 0.5,
    validation: float | None = None,
    loss: float | None = 0.25,
    seconds: float = 2.0,
    cosines: Sequence[Sequence[float | None]] = (),
    epochs: int = 2,
    diverged: bool = False,
    **changes: Any,
) -> Record:
    """A record whose key is right; `cosines` are one layer each, one number per epoch."""
    configuration = {"task": task, "rule": rule, "options": options or {"label": label}}
    cell = digest(configuration)
    layers = {f"cosine.{i}": list(layer) for i, layer in enumerate(cosines)}
    layers |= {f"norm_ratio.{i}": [7.0] * len(layer) for i, layer in enumerate(cosines)}
    values: dict[str, Any] = {
        "key": seed_key(cell, seed),
        "cell": cell,
        "task": task,
        "rule": rule,
        "seed": seed,
        "label": label,
        "status": "diverged" if diverged else "complete",
        "diverged_epoch": 1 if diverged else None,
        "configuration": configuration,
        "train_loss": loss,
        "validation_accuracy": validation,
        "test_accuracy": test,
        "curves": Curves(
            metrics={"loss": [loss] * epochs},
            validation_accuracy=[validation] * epochs,
            test_accuracy=[test] * epochs,
            alignment={"loss": layers} if layers else {},
        ),
        "timing": Timing(
            group_train_seconds=seconds,
            group_evaluation_seconds=0.0,
            group_size=1,
            train_seconds=seconds,
        ),
        "provenance": {"device": "cpu"},
    }
    return Record(**(values | changes))
