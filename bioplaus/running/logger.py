"""The logger contract: somewhere else to follow runs, beside the records."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from bioplaus.errors import BioplausError, PluginError
from bioplaus.experiments.experiment import Experiment
from bioplaus.plugins import registry
from bioplaus.plugins.whole import fault
from bioplaus.records.schema import Record
from bioplaus.system.blame import blaming
from bioplaus.training.progress import Progress


class Logger(ABC):
    """Tells another program of runs, found through the entry points `bioplaus.loggers`.

    Made once for a command. A logger imports what it needs in its constructor, and raises a
    BioplausError that says what to install where that is missing.

    Example:

        >>> from pathlib import Path
        >>> from bioplaus import Logger
        >>> class Printed(Logger):
        ...     name = "printed"
        ...     where = "on the terminal"
        ...
        ...     def __init__(self, folder):
        ...         pass
        ...
        ...     def epoch(self, experiment, epoch, means):
        ...         print(epoch, means)
        ...
        ...     def record(self, record):
        ...         print(record.rule, record.seed, record.test_accuracy)
        >>> Printed(Path("logs")).epoch(None, 1, {"loss": 0.5})
        1 {'loss': 0.5}
    """

    name: ClassVar[str]

    @abstractmethod
    def __init__(self, folder: Path) -> None:
        """`folder` is where to write, for a logger that writes files; made if need be."""

    @property
    @abstractmethod
    def where(self) -> str:
        """Where to look, for people: one line."""

    def epoch(self, experiment: Experiment, epoch: int, means: dict[str, float]) -> None:
        """While training: means over all seeds in training after an epoch, counted from 1."""
        return None

    @abstractmethod
    def record(self, record: Record) -> None:
        """A seed that is done, with all its curves."""

    def close(self) -> None:
        """Called once, after the last record."""
        return None


class Loggers:
    """Several loggers as one; none is as good as any."""

    def __init__(self, names: Iterable[str], folder: str | os.PathLike[str]) -> None:
        self._all: list[Logger] = []
        self.problems: list[str] = []
        """What is wrong with loggers that failed, each of which is told nothing more."""
        for name in dict.fromkeys(names):
            plugin = registry.find("logger", name)
            cls = plugin.load()
            if wrong := fault(cls, Logger, "bioplaus.Logger"):
                raise PluginError(f"{plugin.title}: {wrong}")
            with blaming(f"{plugin.title} cannot be made", cls):
                self._all.append(cls(Path(folder) / name))
        self._epochs: dict[int, int] = {}

    @property
    def where(self) -> list[str]:
        """Where to look."""
        return [logger.where for logger in self._all]

    def progress(self, experiment: Experiment, progress: Progress) -> None:
        """Told a few times a second; passes on the means of an epoch as soon as there are any."""
        if not self._all or progress.measured <= self._epochs.get(id(experiment), 0):
            return
        self._epochs[id(experiment)] = progress.measured
        means = {"loss": progress.loss, "validation_accuracy": progress.validation_accuracy}
        known = {name: value for name, value in means.items() if value is not None}
        self._tell(lambda logger: logger.epoch(experiment, progress.measured, known))

    def finish(self, records: Iterable[Record]) -> None:
        """Pass on what is done, and close."""
        for record in records:
            self._tell(lambda logger, record=record: logger.record(record))  # type: ignore[misc]
        self._tell(lambda logger: logger.close())

    def _tell(self, what: Callable[[Logger], None]) -> None:
        """A logger that raises costs nobody a run: it is left out from then on."""
        for logger in list(self._all):
            try:
                with blaming(f"the logger {logger.name!r} failed", logger):
                    what(logger)
            except BioplausError as error:
                self.problems.append(str(error))
                self._all.remove(logger)


def curves(record: Record) -> dict[str, list[float | None]]:
    """A record's curves by flat names, one number per epoch: "loss", "alignment/loss/cosine.1"."""
    flat = dict(record.curves.metrics)
    flat["validation_accuracy"] = record.curves.validation_accuracy
    flat["test_accuracy"] = record.curves.test_accuracy
    for reference, numbers in record.curves.alignment.items():
        flat |= {f"alignment/{reference}/{name}": curve for name, curve in numbers.items()}
    return flat
