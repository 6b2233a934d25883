"""What a check finds: a reason, and a hint how to mend it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bioplaus.errors import BioplausError, shown
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


HINTS = {
    "called random operation": "declare the random numbers in `noise` and take them from "
    "update's `noise` argument: a call of torch.rand is one draw for all replicas, and "
    "cannot be repeated",
    "calling .item() on a tensor": "keep numbers as tensors: no .item(), float(tensor) or "
    ".tolist() inside `update`; return what you want to see in `metrics`",
    "data-dependent control flow": "no Python `if` or `while` on a tensor's value: use "
    "torch.where, and a fixed number of iterations",
    "performance drop": "vmap has no batching rule for this operation and would loop over the "
    "replicas: use another one",
    "inplace arithmetic": "change nothing in place inside `update`: x = x + y, not x += y",
    "in-place": "change nothing in place inside `update`: x = x + y, not x += y",
    "data pointer": "stay in torch: no .numpy() inside `update`",
    "do not match by name and shape": "return one tensor for each tensor that is due, under the "
    "same name and of the same shape (`grads` as `params`, `aux_grads` as `state.aux`, `memory` "
    "as `state.memory`)",
    "no metric 'loss'": 'put the batch\'s loss into the update: metrics={"loss": ...}',
    "tensors only": "vmap takes tensors only: no None, numbers or text in a state or an update",
    "incompatible return type": "vmap takes tensors only: no None, numbers or text in an update",
}


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
    found = [hint for mark, hint in HINTS.items() if mark in str(error).lower()]
    if found:
        return found[0]
    if isinstance(error, BioplausError):
        return "the reason says what is due"
    return "see the line named; BIOPLAUS_TRACEBACK=1 shows the whole way"
