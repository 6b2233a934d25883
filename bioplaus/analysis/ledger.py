"""The ledger of claims: what publications say of rules, and what records say of it.

A claim is data, in `ledger.toml` beside this file: a number with its source, and how bioplaus
would test it. Its status is a function of records, never typed:

- *reproduced*: the 95 % interval of the mean over our seeds holds the published value, or, for
  a claim that two rules are as good as each other, the interval of their difference lies within
  the margin that the claim names;
- *refuted*: it does not, and the protocols are the same;
- *undecided*: the interval of a difference is wider than the margin and holds it in part;
- *not comparable*: the protocols differ, and the claim says in what;
- *not run*: there are no records of that rule on that task.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bioplaus.analysis.statistics import mean_interval, paired_difference
from bioplaus.errors import ConfigError, validation_message
from bioplaus.records.schema import Record

Status = Literal["reproduced", "refuted", "undecided", "not comparable", "not run"]


class Claim(BaseModel):
    """One published statement; a value in the unit that it was published in."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rule: str = Field(description="the rule's name; or a system that bioplaus has no rule for")
    says: str = Field(description="the statement, in our words")
    source: str = Field(description="publication or code, and where in it")
    identifier: str = Field(description="arXiv number, DOI, or repository and file")
    protocol: str = Field("", description="network, epochs, seeds, as published")
    value: float | None = Field(None, description="test accuracy in percent, where it is one")
    against: str | None = Field(None, description="the rule that it is said to be as good as")
    margin: float | None = Field(
        None, gt=0, description="points within which `against` counts as equally good"
    )
    task: str | None = Field(None, description="the task that tests it here")
    differs: str = Field("", description="in what our protocol differs, where it does")
    needs: str = Field("", description="what it would take to run it")

    @model_validator(mode="after")
    def _decidable(self) -> Claim:
        if (self.against is None) != (self.margin is None):
            raise ValueError("against and margin belong together")
        if self.task is None and not self.differs:
            raise ValueError("name the task that tests it, or say in `differs` why none does")
        if self.task is not None and self.value is None and self.against is None:
            raise ValueError("a claim that is tested has a value or another rule to be as good as")
        return self


class _Ledger(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: list[Claim]
    none_found: list[str] = Field(description="rules for which no published number was found")


@dataclass(frozen=True)
class Finding:
    """A claim beside what was measured."""

    claim: Claim
    status: Status
    measured: str = ""
    """The mean over seeds and its 95 % interval, in percent; '' where nothing was."""
    seeds: int = 0


def read_ledger() -> tuple[list[Claim], list[str]]:
    """The claims, and the rules for which none was found; ConfigError where the file is wrong."""
    text = (resources.files(__package__) / "ledger.toml").read_text(encoding="utf-8")
    try:
        ledger = _Ledger.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise ConfigError(f"ledger.toml: {validation_message(error)}") from None
    return ledger.claim, ledger.none_found


def judge(claims: Sequence[Claim], records: Sequence[Record]) -> list[Finding]:
    """Each claim's status, from the records of default configurations, the latest epochs first.

    A seed that diverged counts as no evidence for a value, and is why two rules are not equal:
    the claim then is refuted.
    """
    return [_judge(claim, records) for claim in claims]


def _judge(claim: Claim, records: Sequence[Record]) -> Finding:
    measured = _accuracies(records, claim.task, claim.rule)
    if claim.against is not None:
        return _compare(claim, measured, _accuracies(records, claim.task, claim.against))
    text, seeds = "", len(measured)
    holds = False
    if seeds >= 2:
        found = mean_interval([100 * a for a in measured.values()])
        text = f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
        holds = claim.value is not None and found.low <= claim.value <= found.high
    if claim.differs:
        return Finding(claim, "not comparable", text, seeds)
    if seeds < 2:
        return Finding(claim, "not run", seeds=seeds)
    return Finding(claim, "reproduced" if holds else "refuted", text, seeds)


def what_decides(finding: Finding) -> str:
    """In what the protocols differ, or what it would take to run it; "" for what is decided."""
    claim = finding.claim
    if finding.status == "not run" and claim.task:
        rules = " ".join(f"--rule {r}" for r in (claim.rule, claim.against) if r)
        return claim.needs or f"bioplaus run {rules} --task {claim.task}"
    return f"differs: {claim.differs}" if claim.differs else ""


def _compare(claim: Claim, ours: Mapping[int, float], theirs: Mapping[int, float]) -> Finding:
    """Whether two rules are as good as each other, by the seeds that both have."""
    common = sorted(ours.keys() & theirs.keys())
    if len(common) < 2:
        status: Status = "not comparable" if claim.differs else "not run"
        return Finding(claim, status, seeds=len(common))
    found = paired_difference([100 * ours[s] for s in common], [100 * theirs[s] for s in common])
    text = f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}] against {claim.against}"
    assert claim.margin is not None
    if claim.differs:
        status = "not comparable"
    elif -claim.margin <= found.low and found.high <= claim.margin:
        status = "reproduced"
    elif found.high < -claim.margin or found.low > claim.margin:
        status = "refuted"
    else:
        status = "undecided"
    return Finding(claim, status, text, len(common))


def _accuracies(records: Sequence[Record], task: str | None, rule: str) -> dict[int, float]:
    """Seed -> test accuracy, of the default configuration with the most epochs and seeds."""
    cells: dict[str, list[Record]] = {}
    for record in records:
        if record.task == task and record.rule == rule and _is_default(record):
            cells.setdefault(record.cell, []).append(record)
    if not cells:
        return {}
    best = max(cells.values(), key=lambda cell: (_epochs(cell[0]), len(cell), cell[0].cell))
    return {r.seed: r.test_accuracy for r in best if r.test_accuracy is not None}


def _is_default(record: Record) -> bool:
    """Of no setting but its epochs and its precision."""
    settings = (part.partition("=")[0] for part in record.label.split())
    return set(settings) <= {"epochs", "precision"}


def _epochs(record: Record) -> int:
    return len(record.curves.test_accuracy)
