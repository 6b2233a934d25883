"""Runs that are stopped, and what must be equal when they have gone on."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bioplaus.experiments.experiment import plan
from bioplaus.records.schema import Record
from bioplaus.records.store import Store
from bioplaus.running.run import Results, run_experiments
from bioplaus.training.execution import Execution

SEEDS = [0, 3]
NO_FACTS = ("timing", "provenance")


def facts(record: Record) -> dict[str, Any]:
    """All that must be equal to the last bit."""
    found = {k: v for k, v in json.loads(record.to_json()).items() if k not in NO_FACTS}
    if record.cost is not None and record.cost.peak_measured:
        del found["cost"]["peak_bytes"]  # of the process, with what ran in it before
    return found


SETTINGS: dict[str, dict[str, object]] = {
    "sgd": {"optimizer.name": "sgd", "optimizer.momentum": 0.9},
    # every phase, a few steps of each
    "equilibrium-propagation": {"free_steps": 4, "nudged_steps": 3},
    "predictive-coding": {"steps": 4},
}


def run(rule: str, task: Path, store: Path, epochs: int = 3, **settings: Any) -> Results:
    chosen = SETTINGS.get(rule, {})
    name = "backprop" if rule == "sgd" else rule
    experiments = plan([name], str(task), epochs=epochs, settings=chosen)
    device = torch.device(settings.pop("device", "cpu"))
    execution = Execution(device, settings.pop("compile", "off"))
    return run_experiments(experiments, SEEDS, Store(store), execution=execution, **settings)


def stopping_after(steps: int) -> Callable[..., None]:
    """Sends this process SIGTERM once so many steps have been taken."""
    sent: list[int] = []

    def observe(_: object, progress: Any) -> None:
        if progress.step >= steps and not sent:
            sent.append(steps)
            signal.raise_signal(signal.SIGTERM)

    return observe
