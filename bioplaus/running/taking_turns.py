"""Working on one thing after the other, and on what another process has, last."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bioplaus.system.claims import Claim, Claims, Holder

LOOK_SECONDS = 1.0
"""How often to look whether another process is done."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Later:
    """Not now: other work first, and then ask again."""

    reason: str
    """For people: what is waited for."""


def in_turn(
    things: Iterable[_T],
    claim_of: Callable[[_T], Path | None],
    claims: Claims,
    tell: Callable[[_T, Holder], None],
) -> Generator[_T]:
    """Each of the things, claimed as long as it is worked on; those that others have, last.

    claim_of: where a thing's claims are; None where there is nothing to do for it.
    tell: told of each look at what another process has.
    """
    put_off: deque[_T] = deque()

    def offer(thing: _T) -> Iterator[_T]:
        path = claim_of(thing)
        if path is None:
            yield thing
            return
        taken = claims.take(path)
        if isinstance(taken, Holder):
            tell(thing, taken)
            put_off.append(thing)
            return
        with taken:
            yield thing

    for thing in things:
        yield from offer(thing)
    while put_off:
        time.sleep(LOOK_SECONDS)
        for _ in range(len(put_off)):
            yield from offer(put_off.popleft())


def claimed(path: Path, claims: Claims, title: str) -> Generator[Later, None, Claim]:
    """The claim, once it can be had: says `Later` as long as another process has it."""
    while isinstance(taken := claims.take(path), Holder):
        yield Later(waiting_line(title, taken))
    return taken


def waiting_line(title: str, holder: Holder) -> str:
    """What to tell people."""
    return f"{title}: {holder} is at work on it; its results will be used"
