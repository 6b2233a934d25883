"""Speeds that ship with the program, for plans for a device that is not in this machine."""

from __future__ import annotations

import importlib.resources
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from bioplaus.benchmark.estimate import Cell, cell_of
from bioplaus.benchmark.pace import steps_per_epoch
from bioplaus.benchmark.plan import Entry, Left
from bioplaus.experiments.experiment import Experiment
from bioplaus.tasks.task import read_task

_SIZES = ("network", "depth", "width", "activation")


@dataclass(frozen=True)
class Measured:
    """How fast one rule trained on one task, on a device and a day; a row of speeds.toml."""

    device: str
    date: str
    command: str
    rule: str
    task: str
    precision: str
    seeds: int
    epoch_seconds: float
    """Of one seed, its share of those trained together, evaluations included."""

    @property
    def source(self) -> str:
        """Where and when, in words."""
        return f"{self.device}, {self.date}"

    def tells_of(self, experiment: Experiment) -> bool:
        """Whether steps of the experiment are those that were timed, on whatever examples."""
        task, timed = experiment.task, read_task(self.task)
        return (
            experiment.rule.name == self.rule
            and experiment.precision == self.precision
            and experiment.rule.config == type(experiment.rule).Config()
            and all(getattr(task, size) == getattr(timed, size) for size in _SIZES)
            and (task.batch_size, task.loss) == (timed.batch_size, timed.loss)
        )


def shipped() -> list[Measured]:
    """Every row."""
    text = importlib.resources.files("bioplaus.benchmark").joinpath("speeds.toml").read_text()
    return [Measured(**row) for row in tomllib.loads(text)["measured"]]


def shipped_speeds(lefts: Sequence[Left]) -> tuple[dict[Cell, float], list[str]]:
    """Seconds of one seed's epoch on a GPU, of those that a row tells of, and the rows' sources.

    Raises what reading a task may. Of another number of steps an epoch, in proportion.
    """
    found: dict[Cell, float] = {}
    sources: list[str] = []
    known = shipped()
    for item in lefts:
        row = next((row for row in known if row.tells_of(item.entry.base)), None)
        steps, timed = steps_per_epoch(item.entry), row and _steps_timed(row, item.entry)
        if row is not None and steps and timed:
            found[cell_of(item.entry)] = row.epoch_seconds * steps / timed
            sources.append(row.source)
    return found, list(dict.fromkeys(sources))


def _steps_timed(row: Measured, like: Entry) -> int | None:
    entry = Entry(row.rule, read_task(row.task), None, {}, row.precision, like.seeds, None)
    return steps_per_epoch(entry)
