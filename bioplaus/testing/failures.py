"""What a check finds: a reason, and a hint how to mend it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bioplaus.errors import BioplausError, shown
from bioplaus.learning.hints import hint_for
from bioplaus.system.blame import files_of, first_line, place


class Failure(AssertionError):
    """A rule broke a promise of the contract."""

    def __init__(self, reason: str, hint: str, cause: str = "") -> None:
        """cause: the same for failures that one change would mend; by default the hint."""
        self.reason, self.hint, self.cause = reason, hint, cause or hint
        super().__init__(f"{reason}\nHint: {hint}")


class Skip(Exception):
    """A check that cannot be made here; the message says why."""


def require(kept: bool, reason: str, hint: str) -> None:
    """Failure unless a promise is kept."""
    if not kept:
        raise Failure(reason, hint)


@contextmanager
def explained(doing: str, plugin: object = None) -> Iterator[None]:
    """Turns whatever a rule raises into a Failure that says where, and what to do.

    plugin: its class, whose file's lines are named.
    """
    try:
        yield
    except (Failure, Skip):
        raise
    except Exception as error:  # a rule may raise anything
        if os.environ.get("BIOPLAUS_TRACEBACK"):
            raise
        files = files_of(plugin)
        if isinstance(error, BioplausError):
            reason, cause = f"{doing} raised {type(error).__name__}: {error}", str(error)
        else:
            where = place(error, files)
            reason = f"{doing} raised {type(error).__name__}" + (f" ({where})" if where else "")
            reason += f": {shown(first_line(error), 300)}"
            cause = where or reason
        raise Failure(reason, _hint(error), cause) from error


def _hint(error: Exception) -> str:
    if hint := hint_for(str(error)):
        return hint
    if isinstance(error, BioplausError):
        return "the reason says what is due"
    return "see the line named; BIOPLAUS_TRACEBACK=1 shows the whole way"
