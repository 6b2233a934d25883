"""What publications claim of the rules on a page, and what its records say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bioplaus.analysis.ledger import Finding, judge, read_ledger, what_decides
from bioplaus.errors import printable
from bioplaus.records.schema import Record

from .cell_measures import MISSING
from .html_tables import Column, Line, Table, TableCell

_ORDER = ("reproduced", "refuted", "undecided", "not comparable", "not run")


@dataclass(frozen=True)
class Claims:
    """A section of the page."""

    summary: str
    """How many have which status, and for which rules none was found."""
    table: Table


def claims_section(records: Sequence[Record], rules: Collection[str]) -> Claims | None:
    """The claims of the ledger about these rules, judged by these records alone; None for none."""
    known, without = read_ledger()
    found = judge([claim for claim in known if claim.rule in rules], records)
    if not found:
        return None
    found.sort(key=lambda f: (_ORDER.index(f.status), f.claim.rule, f.claim.says))
    columns = [
        Column("Status", "by the records on this page", number=False),
        Column("Rule", number=False),
        Column("Claim", "as published, and under which protocol", number=False, wide=True),
        Column("Measured", "mean over seeds and its 95 % interval, test accuracy (%)"),
        Column("What would decide it", "or in what protocols differ", number=False, wide=True),
        Column("Source", number=False, wide=True),
    ]
    lines = [Line(_entries(f)) for f in found]
    table = Table("claims-table", "Published claims", columns, lines)
    return Claims(_summary(found, sorted(set(rules) & set(without))), table)


def _entries(finding: Finding) -> list[TableCell]:
    claim = finding.claim
    seeds = f"{finding.seeds} seeds on {claim.task}" if finding.measured else ""
    return [
        TableCell(finding.status),
        TableCell(claim.rule),
        TableCell(printable(claim.says), note=printable(claim.protocol)),
        TableCell(finding.measured or MISSING, note=seeds),
        TableCell(printable(what_decides(finding)) or MISSING),
        TableCell(printable(claim.source), note=printable(claim.identifier)),
    ]


def _summary(found: Sequence[Finding], without: Sequence[str]) -> str:
    counts = Counter[str](f.status for f in found)
    words = ", ".join(f"{counts[status]} {status}" for status in _ORDER if counts[status])
    none = f" No number was read at its source yet for {', '.join(without)}." if without else ""
    return f"Of {len(found)} claims about these rules {words}.{none}"
