"""All checks on one rule, and the verdict in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bioplaus.learning.batching import Rule
from bioplaus.network.network import Network
from bioplaus.tasks.task import Task
from bioplaus.testing import contract, description, numbers, plausibility, rest, training
from bioplaus.testing.check import Causes, Check, scoped
from bioplaus.testing.failures import Failure, Skip
from bioplaus.testing.networks import NETWORKS

CHECKS: tuple[Check, ...] = (
    *description.CHECKS,
    *contract.CHECKS,
    *plausibility.CHECKS,
    *rest.CHECKS,
    *training.CHECKS,
    *numbers.CHECKS,
)
"""Every check there is, in the order of a verdict."""

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: Check
    status: Status
    note: str
    """What was seen, why it was skipped, or the reason of the failure."""
    hint: str = ""
    where: str = ""
    """Under which options and on which network it failed first."""
    count: int = 1
    """How many cases were looked at."""
    failures: int = 0
    failure: Failure | None = None
    """The first."""


@dataclass(frozen=True)
class Verdict:
    """What all checks found of one rule."""

    rule: str
    source: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> list[Finding]:
        """What failed."""
        return [finding for finding in self.findings if finding.status == "failed"]

    def markdown(self) -> str:
        """One row for each check, then a reason and a hint for each failure."""
        skipped = sum(finding.status == "skipped" for finding in self.findings)
        passed = len(self.findings) - skipped - len(self.failures)
        counts = f"Of the checks {passed} passed, {len(self.failures)} failed, {skipped} skipped"
        word = "passed" if self.passed else "failed"
        lines = [f"# {self.rule}: {word}", "", f"{counts}. Source: {self.source}.", ""]
        lines += ["| Check | Verdict | Promise | Seen |", "| :--- | :--- | :--- | :--- |"]
        lines += [_row(finding) for finding in self.findings]
        for finding in self.failures:
            lines += ["", f"## {finding.check.name}", "", f"Where: {finding.where}"]
            if finding.failures > 1:
                lines[-1] += f" (and {finding.failures - 1} more of {finding.count} cases)"
            lines += ["", f"Reason: {finding.note}", "", f"Hint: {finding.hint}"]
        return "\n".join(lines) + "\n"


def _row(finding: Finding) -> str:
    word = "**failed**" if finding.status == "failed" else finding.status
    seen = "see below" if finding.status == "failed" else finding.note.replace("|", "\\|")
    return f"| {finding.check.name} | {word} | {finding.check.promise} | {seen} |"


def check_rule(
    cls: type[Rule],
    source: str = "a class",
    *,
    networks: Mapping[str, Network] = NETWORKS,
    only: tuple[str, ...] = (),
    observe: Callable[[Check], None] = lambda check: None,
    task: Task | None = None,
) -> Verdict:
    """Every check on a rule, or `only` those named; `observe` is told before each.

    task: where it is trained, by default the first digits task that it supports. A rule that
    fails is a failed verdict, never an exception. What only repeats a failure is skipped.
    """
    verdict = Verdict(getattr(cls, "name", repr(cls)), source)
    causes = Causes()
    for check in CHECKS:
        if only and check.name not in only:
            continue
        observe(check)
        stopped = causes.before(check)
        found = Finding(check, "skipped", stopped) if stopped else _find(check, cls, networks, task)
        if found.failure and (again := causes.repeats(check, found.failure)):
            found = Finding(check, "skipped", again)
        verdict.findings.append(found)
    return verdict


def _find(
    check: Check, cls: type[Rule], networks: Mapping[str, Network], task: Task | None
) -> Finding:
    looked = scoped(check.scope, cls, networks, task)
    notes: list[str] = []
    skips: list[str] = []
    failures: list[tuple[Failure, str]] = []
    for case in looked:
        try:
            notes.append(check.on(case))
        except Skip as reason:
            skips.append(str(reason))
        except Failure as failure:
            failures.append((failure, case.where))
    if failures:
        first, where = failures[0]
        counts = len(looked), len(failures)
        return Finding(check, "failed", first.reason, first.hint, where, *counts, first)
    if skips and not notes:
        return Finding(check, "skipped", skips[0])
    note = notes[0] if notes else ""
    count = f"{len(looked)} cases" if len(looked) > 1 else ""
    return Finding(check, "passed", "; ".join(part for part in (note, count) if part))
