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
_HAS_TIMERS = hasattr(signal, "setitimer")
_PATIENCE_SECONDS = 3.0
"""For the step at hand to end; what it was doing is lost otherwise, as with any Ctrl-C."""


class Terminated(BaseException):
    """SIGTERM: whoever said `handled` ends the process with the conventional status, `code`.

    No SystemExit, which is taken for a plugin's fault where a plugin raises it.
    """

    code = 128 + signal.SIGTERM


class Interruption:
    """A stretch of work that looks for itself whether it was told to stop.

    The first signal is kept until it looks, but no longer than a few seconds, where the system
    has timers; another one raises at once.
    """

    _working = 0
    _signal: int | None = None

    @property
    def requested(self) -> bool:
        """Whether a signal waits; from now on it waits as long as it takes."""
        if Interruption._signal is None:
            return False
        _set_timer(0.0)
        return True

    def obey(self) -> NoReturn:
        """Raise what the signal stands for: KeyboardInterrupt or Terminated."""
        _set_timer(0.0)
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
    if _HAS_TIMERS:
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, _late)
    try:
        yield
        obey_if_requested()
    finally:
        _set_timer(0.0)
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
    _set_timer(_PATIENCE_SECONDS)


def _late(number: int, frame: FrameType | None) -> None:
    """The step at hand takes too long."""
    if Interruption._signal is not None:
        Interruption().obey()


def _set_timer(seconds: float) -> None:
    if _HAS_TIMERS:
        signal.setitimer(signal.ITIMER_REAL, seconds)
