"""A progress bar on a terminal, a few plain lines elsewhere; always on standard error."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from bioplaus.experiment import Experiment
from bioplaus.trainer import Progress as Where

_LINE_EVERY_SECONDS = 15.0


class TrainingDisplay:
    """Follows the training of one experiment after the other."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[int, TaskID] = {}
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
        self._bar.__exit__(kind, error, trace)

    def update(self, experiment: Experiment, where: Where) -> None:
        """Told after every step."""
        name = f"{experiment.rule.name} {experiment.label}".strip()
        if not self._console.is_terminal:
            self._line(name, where)
            return
        key = id(experiment)
        if key not in self._tasks:
            self._tasks[key] = self._bar.add_task(name, total=where.steps, note="")
        self._bar.update(self._tasks[key], completed=where.step, note=_note(where))

    def _line(self, name: str, where: Where) -> None:
        now = time.monotonic()
        if now - self._last_line > _LINE_EVERY_SECONDS or where.step == where.steps:
            self._last_line = now
            percent = 100 * where.step // where.steps
            self._console.print(f"{name}: {percent} % {_note(where)}", markup=False, soft_wrap=True)


def _note(where: Where) -> str:
    parts = [f"epoch {where.epoch}/{where.epochs}"]
    if where.loss is not None:
        parts.append(f"loss {where.loss:.4f}")
    if where.validation_accuracy is not None:
        parts.append(f"validation {100 * where.validation_accuracy:.1f} %")
    return "  ".join(parts)
