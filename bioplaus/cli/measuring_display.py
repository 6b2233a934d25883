"""Progress of a measurement: a bar on a terminal, a few lines elsewhere, on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bioplaus.benchmark.estimate import in_words

_LINE_EVERY_SECONDS = 15.0
_TOLD_AFTER_SECONDS = 2.0
_TOLD_FROM = 0.02
"""The share after which a rate is more than a guess."""


class MeasuringDisplay:
    """Told what is at work and how many seeds are done; says how long the rest will take."""

    def __init__(self, title: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(stderr=True)
        self._clock, self._total = clock, total
        self._start = self._last = clock()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._row = self._bar.add_task(title, total=total, note="")

    def __enter__(self) -> MeasuringDisplay:
        self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def update(self, what: str, done: float) -> None:
        """done: seeds, a fraction for the one at work."""
        left = self.left(done)
        note = f"{int(done)} of {self._total} seeds; {what}{f'; {left}' if left else ''}"
        self._bar.update(self._row, completed=done, note=note)
        now = self._clock()
        if not self._console.is_terminal and now - self._last > _LINE_EVERY_SECONDS:
            self._last = now
            self._console.print(note, markup=False, highlight=False, soft_wrap=True)

    def left(self, done: float) -> str:
        """`about 2 min left`; nothing where that cannot be told yet, or nothing is left."""
        passed, share = self._clock() - self._start, done / max(1, self._total)
        if passed < _TOLD_AFTER_SECONDS or not _TOLD_FROM <= share < 1.0:
            return ""
        return f"about {in_words(passed * (1 - share) / share)} left"
