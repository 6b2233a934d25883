"""What a check is: a function of a case that returns what it saw, or raises a Failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bioplaus.learning.batching import Rule
from bioplaus.network.network import Network
from bioplaus.testing.cases import Case, cases
from bioplaus.testing.failures import explained

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
        with explained(f"the rule {case.cls.name!r}"):
            return self.look(case)


def check(name: str, promise: str, scope: Scope) -> Callable[[Callable[[Case], str | None]], Check]:
    """Makes a check of a function."""

    def made(look: Callable[[Case], str | None]) -> Check:
        return Check(name, promise, scope, lambda case: look(case) or "")

    return made


def scoped(scope: Scope, cls: type[Rule], networks: Mapping[str, Network]) -> Sequence[Case]:
    """The cases that a check of that scope looks at."""
    found = cases(cls, networks)
    if scope == "case":
        return found
    if scope == "configuration":
        return list({str(c.options): c for c in reversed(found)}.values())[::-1]
    defaults = [case for case in found if not case.options]
    return (defaults or found)[:1]
