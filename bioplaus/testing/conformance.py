"""The kit as a pytest class, to be subclassed in an author's tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from bioplaus.learning.batching import Rule
from bioplaus.network.network import Network
from bioplaus.plugins import registry
from bioplaus.testing.cases import Case
from bioplaus.testing.check import Causes, Check, scoped
from bioplaus.testing.failures import Failure, Skip
from bioplaus.testing.networks import NETWORKS
from bioplaus.testing.numbers import task_to_try
from bioplaus.testing.verdict import CHECKS


class RuleConformance:
    """Every check of the kit as a test: subclass it and name the rule.

        class TestMine(RuleConformance):
            rule = "mine"          # as registered, or the class itself

    `pytest -k purity` picks one check. `networks` replaces the networks it is tried on, `task`
    (a name or FILE.toml) the task. A test that could only repeat another's failure is skipped.
    """

    rule: ClassVar[str | type[Rule]]
    networks: ClassVar[Mapping[str, Network]] = NETWORKS
    task: ClassVar[str | None] = None
    _causes: ClassVar[dict[type[Rule], Causes]] = {}

    @classmethod
    def rules_under_test(cls) -> list[type[Rule]]:
        """The rule named, as a list, so that a subclass may test several."""
        named = cls.rule
        return [registry.load("rule", named) if isinstance(named, str) else named]

    @classmethod
    def cases(cls) -> list[tuple[str, Check, Case]]:
        """Every test: its name, the check and the case."""
        rules = cls.rules_under_test()
        task = task_to_try(cls.task) if cls.task is not None else None
        return [
            (f"{tested.name}-{check.name}-{case}", check, case)
            for tested in rules
            for check in CHECKS
            for case in scoped(check.scope, tested, cls.networks, task)
        ]

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test for each check on each case."""
        if {"check", "case"} <= set(metafunc.fixturenames):
            names, checks, found = zip(*self.cases(), strict=True)
            pairs = list(zip(checks, found, strict=True))
            metafunc.parametrize(("check", "case"), pairs, ids=list(names))

    def test_rule(self, check: Check, case: Case) -> None:
        """One promise of the contract."""
        import pytest

        causes = self._causes.setdefault(case.cls, Causes())
        if stopped := causes.before(check):
            pytest.skip(stopped)
        try:
            check.on(case)
        except Skip as reason:
            pytest.skip(str(reason))
        except Failure as failure:
            if again := causes.repeats(check, failure):
                pytest.skip(again)
            raise
