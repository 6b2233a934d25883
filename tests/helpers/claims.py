"""Claims that are got, children that hold them, and waiting for what they do."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bioplaus.system.claims import Claim, Claims


def held(claims: Claims, thing: Path) -> Claim:
    taken = claims.take(thing)
    assert isinstance(taken, Claim), str(taken)
    return taken


def in_child(work: object) -> int:
    """A forked process that does this and ends at once."""
    child = os.fork()
    if child == 0:
        try:
            work()  # type: ignore[operator]
        finally:
            os._exit(0)
    return child


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
