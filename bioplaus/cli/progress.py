"""A progress bar on a terminal, a few plain lines elsewhere; always on standard error."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from bioplaus.experiment import Experiment
from bioplaus.trainer import Progress as Where

_LINE_EVERY_SECONDS = 15.0


class TrainingDisplay:
    """Follows the training of one experiment after the other."""

    def __init__(self, experiments: Sequence[Experiment]) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._rows = {
            id(experiment): self._bar.add_task(_name(experiment), total=None, note="")
            for experiment in experiments
        }
        self._last_line = time.monotonic()

    def __enter__(self) -> TrainingDisplay:
        self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for row in self._bar.tasks:
            row.visible = row.total is not None  # what was not trained has no bar
        self._bar.__exit__(kind, error, trace)

    def update(self, experiment: Experiment, where: Where) -> None:
        """Told after every step."""
        if self._console.is_terminal:
            row = self._rows[id(experiment)]
            self._bar.update(row, completed=where.step, total=where.steps, note=_note(where))
        else:
            self._line(_name(experiment), where)

    def _line(self, name: str, where: Where) -> None:
        now = time.monotonic()
        if now - self._last_line > _LINE_EVERY_SECONDS or where.step == where.steps:
            self._last_line = now
            percent = 100 * where.step // where.steps
            self._console.print(f"{name}: {percent} % {_note(where)}", markup=False, soft_wrap=True)


def _name(experiment: Experiment) -> str:
    return f"{experiment.rule.name} {experiment.label}".strip()


def _note(where: Where) -> str:
    parts = [f"epoch {where.epoch}/{where.epochs}"]
    if where.loss is not None:
        parts.append(f"loss {where.loss:.4f}")
    if where.validation_accuracy is not None:
        parts.append(f"validation {100 * where.validation_accuracy:.1f} %")
    return "  ".join(parts)
