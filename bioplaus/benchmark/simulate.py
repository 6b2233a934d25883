"""How long work takes on many workers: what the driver would do, without doing it.

A piece of work is waves of jobs, each begun when the wave before is over; jobs run in the
order in which they were asked for, and a piece begins once a worker would stand idle. No
worker idles while a job could run, so Graham's bound holds: with m workers it takes at most
total / m + (1 - 1/m) critical path, which is at most 2 - 1/m times the shortest possible.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

Wave = Sequence[float]
"""Seconds of each of its jobs."""


@dataclass(frozen=True)
class Schedule:
    """What a simulation found; times are seconds."""

    workers: int
    seconds: float
    """From the first job's start to the last one's end."""
    total: float
    """Of all jobs, one after the other."""
    critical_path: float
    """Of the longest piece, each wave as long as its longest job: no number of workers is
    quicker."""
    critical: int | None
    """Which piece that is; None where there is no work."""
    jobs: int
    """How many there are."""

    @property
    def utilisation(self) -> float:
        """The share of the workers' time in which they work, from 0 to 1."""
        return self.total / (self.workers * self.seconds) if self.seconds else 1.0


def simulate(works: Sequence[Sequence[Wave]], workers: int) -> Schedule:
    """The driver's schedule of these pieces of work on so many workers, at least one."""
    todo = [deque(wave for wave in work if wave) for work in works]
    unbegun = deque(range(len(works)))
    ready: deque[tuple[int, float]] = deque()
    running: list[tuple[float, int]] = []  # a heap of (end, piece)
    left = [0] * len(works)
    now = 0.0

    def advance(piece: int) -> None:
        if todo[piece]:
            wave = todo[piece].popleft()
            left[piece] = len(wave)
            ready.extend((piece, seconds) for seconds in wave)

    while unbegun or ready or running:
        while unbegun and len(running) + len(ready) < workers:
            advance(unbegun.popleft())
        while ready and len(running) < workers:
            piece, seconds = ready.popleft()
            heapq.heappush(running, (now + seconds, piece))
        if running:
            now, piece = heapq.heappop(running)
            left[piece] -= 1
            if not left[piece]:
                advance(piece)
    paths = [sum(max(wave) for wave in work if wave) for work in works]
    longest = max(range(len(paths)), key=paths.__getitem__, default=None)
    return Schedule(
        workers=workers,
        seconds=now,
        total=sum(sum(wave) for work in works for wave in work),
        critical_path=0.0 if longest is None else paths[longest],
        critical=longest,
        jobs=sum(len(wave) for work in works for wave in work),
    )
