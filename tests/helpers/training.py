"""Training in one call."""

from __future__ import annotations

from pathlib import Path

import torch

from bioplaus.experiments.experiment import plan
from bioplaus.records.store import Store
from bioplaus.running.run import Results, run_experiments
from bioplaus.training.execution import Execution

CPU = torch.device("cpu")


def train(tiny: Path, results: Path, *rules: str, **options: object) -> Results:
    seeds = options.pop("seeds", [0, 1])
    force = bool(options.pop("force", False))
    weights = bool(options.pop("save_weights", False))
    how = {k: options.pop(k) for k in ("compile", "max_replicas") if k in options}
    experiments = plan(rules, str(tiny), **options)  # type: ignore[arg-type]
    store = Store(results)
    return run_experiments(
        experiments,
        seeds,  # type: ignore[arg-type]
        store,
        execution=Execution(CPU, **how),  # type: ignore[arg-type]
        force=force,
        save_weights=weights,
    )
