"""What a check is: a function of a case that returns what it saw, or raises a Failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bioplaus.learning.batching import Rule
from bioplaus.network.network import Network
from bioplaus.tasks.task import Task
from bioplaus.testing.cases import Case, cases
from bioplaus.testing.failures import Failure, explained

Scope = Literal["rule", "default", "configuration", "case"]
"""On what: once for the rule; its defaults on the first network that it supports; every
configuration on its first network; every configuration on every network."""


@dataclass(frozen=True)
class Check:
    """One promise of the contract, and how it is tried."""

    name: str
    promise: str
    scope: Scope
    look: Callable[[Case], str]

    def on(self, case: Case) -> str:
        """What was seen, in a few words or ''; raises Failure, or Skip."""
        name = getattr(case.cls, "name", None) or getattr(case.cls, "__name__", case.cls)
        with explained(f"the rule {name!r}", case.cls):
            return self.look(case)


def check(name: str, promise: str, scope: Scope) -> Callable[[Callable[[Case], str | None]], Check]:
    """Makes a check of a function."""

    def made(look: Callable[[Case], str | None]) -> Check:
        return Check(name, promise, scope, lambda case: look(case) or "")

    return made


AFTER: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("description", "options", "profile", "networks"), ("class",)),
    **dict.fromkeys(("variants", "optimizers", "prediction", "refresh"), ("networks",)),
    "objective": ("networks",),
    "start": ("prediction",),
    "shapes": ("optimizers",),
    **dict.fromkeys(("reach", "purity"), ("shapes",)),
    **dict.fromkeys(("resume", "vmap", "precision", "device"), ("shapes", "purity")),
    **dict.fromkeys(("independence", "trace"), ("vmap", "resume")),
    "plausibility": ("profile", "shapes", "purity"),
    "rest": ("shapes",),
    "replicas": ("vmap", "resume", "prediction", "variants"),
    "determinism": ("vmap", "resume", "prediction", "variants", "replicas"),
    **dict.fromkeys(("direction", "cost"), ("vmap",)),
}
"""Check -> those that say what is wrong where it could only say that something is."""
TRAINS = ("direction", "replicas", "prediction", "reach")
"""The same of a check that trains for longer, and is not listed."""


class Causes:
    """What has failed of a rule so far, so that one cause is one failure."""

    def __init__(self) -> None:
        self._failed: dict[str, str] = {}  # check -> the one whose failure explains it
        self._known: dict[str, str] = {}  # cause -> the check that found it

    def before(self, check: Check) -> str | None:
        """Why a check is not tried; None where nothing speaks against it."""
        roots = [
            self._failed[name] for name in AFTER.get(check.name, TRAINS) if name in self._failed
        ]
        if not roots:
            return None
        self._failed[check.name] = roots[0]
        return f"not tried: `{roots[0]}` failed"

    def repeats(self, check: Check, failure: Failure) -> str | None:
        """Where another check has failed for the same cause: that it did; else None."""
        first = self._known.setdefault(failure.cause, check.name)
        self._failed[check.name] = first
        return None if first == check.name else f"fails as `{first}` does"


def scoped(
    scope: Scope, cls: type[Rule], networks: Mapping[str, Network], task: Task | None = None
) -> Sequence[Case]:
    """The cases that a check of that scope looks at."""
    found = cases(cls, networks, task)
    if scope == "case":
        return found
    if scope == "configuration":
        return list({str(c.options): c for c in reversed(found)}.values())[::-1]
    defaults = [case for case in found if not case.options]
    return (defaults or found)[:1]
