"""SIGTERM and Ctrl-C: a training that hears them stops between two steps, not within one.

A program that wants this says `with handled():` around what it does. Outside of it signals
are what they are for any Python program.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import NoReturn, Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Terminated(SystemExit):
    """SIGTERM: the process ends with the conventional status."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Interruption:
    """A stretch of work that looks for itself whether it was told to stop.

    The first signal is kept until it looks; another one raises at once.
    """

    _working = 0
    _signal: int | None = None

    @property
    def requested(self) -> bool:
        """Whether a signal waits."""
        return Interruption._signal is not None

    def obey(self) -> NoReturn:
        """Raise what the signal stands for: KeyboardInterrupt or Terminated."""
        number, Interruption._signal = Interruption._signal, None
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated

    def __enter__(self) -> Self:
        Interruption._working += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # a signal that came too late stays until what was done is kept
        Interruption._working -= 1


@contextlib.contextmanager
def handled(*numbers: signal.Signals) -> Iterator[None]:
    """Within, these signals (SIGTERM and SIGINT by default) wait for work to look."""
    numbers = numbers or _SIGNALS
    before = {number: signal.signal(number, _hear) for number in numbers}
    try:
        yield
        obey_if_requested()
    finally:
        Interruption._signal = None
        for number, handler in before.items():
            signal.signal(number, handler)


def obey_if_requested() -> None:
    """Between two pieces of work: stop, if a signal came."""
    interruption = Interruption()
    if interruption.requested:
        interruption.obey()


def _hear(number: int, frame: FrameType | None) -> None:
    first = Interruption._signal is None
    Interruption._signal = number
    if not (Interruption._working and first):
        Interruption().obey()
