"""How training runs: where, how many seeds at once, compiled or not. No result hangs on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bioplaus.experiments.experiment import Experiment
from bioplaus.plugins import registry
from bioplaus.system.device import provenance
from bioplaus.tasks.task import TrainingData
from bioplaus.training.checkpoint import Checkpoints
from bioplaus.training.stepper import Compile


@dataclass(frozen=True)
class Execution:
    """What may change without changing a result beyond rounding."""

    device: torch.device
    compile: Compile = "auto"
    max_replicas: int | None = None
    """Seeds that train together at most; None for as many as the memory holds."""
    checkpoints: Path | None = None
    """A folder for what a stopped training goes on from; None for no checkpoints."""
    measured: Compile | None = None
    """Whether evaluation and probe are compiled; None as steps are."""

    def checkpoints_of(
        self,
        experiments: Sequence[Experiment],
        data: TrainingData,
        seeds: Sequence[int],
        first: int = 0,
    ) -> Checkpoints | None:
        """Of replicas with these seeds, training together on the threads that torch has now.

        first: the number of the first of them, where the experiments' replicas are several
        groups. None where no folder is given.
        """
        if self.checkpoints is None:
            return None
        origin = provenance(self.device, torch.get_num_threads(), seeds)
        identity = {
            "configurations": [experiment.configuration(data) for experiment in experiments],
            "provenance": origin | {"command": 0},
            "compile": (self.compile, self.measured) if self.measured else self.compile,
            "first": first,
            "rule": [registry.find("rule", e.rule.name).origin() for e in experiments],
            "evaluated": sorted(data.sizes()),
        }
        return Checkpoints(self.checkpoints, identity)
