"""`bioplaus claims`: what publications say, and what the records say of it."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

import click

from bioplaus.cli.options import format_option, results_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bioplaus.analysis.ledger import Finding


@click.command(short_help="Published claims, and whether the records bear them out.")
@click.option("--rule", "rules", multiple=True, help="Only this rule; repeatable.")
@results_option
@format_option(["table", "json", "markdown"], "How to write it.")
def claims(rules: tuple[str, ...], results: str, form: str) -> None:
    """Show the ledger of claims: each published number with its source, and its status.

    A status is computed from the records in the results folder: reproduced (the 95 % interval
    holds the value), refuted, undecided, not comparable (and in what the protocols differ), or
    not run (and what it would take).
    """
    from bioplaus.analysis.ledger import judge, read_ledger
    from bioplaus.errors import UnknownNameError
    from bioplaus.records.store import Store

    known, without = read_ledger()
    names = {claim.rule for claim in known} | set(without)
    for rule in rules:
        if rule not in names:
            raise UnknownNameError("rule of the ledger", rule, sorted(names))
    if rules:
        known = [claim for claim in known if claim.rule in rules]
        without = [name for name in without if name in rules]
    found = judge(known, Store(results).read_all().records)
    click.echo({"table": _text, "json": _json, "markdown": _markdown}[form](found, without))


def _facts(finding: Finding) -> dict[str, object]:
    facts = finding.claim.model_dump(exclude_none=True)
    return {**facts, "status": finding.status, "measured": finding.measured, "seeds": finding.seeds}


def _json(found: Sequence[Finding], without: Sequence[str]) -> str:
    return json.dumps({"claims": [_facts(f) for f in found], "none_found": list(without)}, indent=1)


def _summary(found: Sequence[Finding], without: Sequence[str]) -> str:
    counts = Counter(f.status for f in found)
    text = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    none = f" No number was read at its source yet for {', '.join(without)}." if without else ""
    return f"{len(found)} claims: {text}.{none}" if found else none.strip()


def _why(finding: Finding) -> str:
    """What was measured, and what stands between it and the claim."""
    from bioplaus.analysis.ledger import what_decides

    claim = finding.claim
    measured = f"measured {finding.measured}, {finding.seeds} seeds" if finding.measured else ""
    on = f"on {claim.task}" if claim.task and measured else ""
    said = " ".join(filter(None, (measured, on)))
    return "; ".join(filter(None, (said, what_decides(finding))))


def _text(found: Sequence[Finding], without: Sequence[str]) -> str:
    lines = []
    for finding in found:
        claim = finding.claim
        lines.append(f"{finding.status.upper()}: {claim.rule} {claim.says}")
        for detail in (f"{claim.source} ({claim.identifier})", claim.protocol, _why(finding)):
            lines += textwrap.wrap(detail, 100, initial_indent="  ", subsequent_indent="    ")
        lines.append("")
    return "\n".join([*lines, _summary(found, without)])


def _markdown(found: Sequence[Finding], without: Sequence[str]) -> str:
    rows = [
        "| claim | status | measured | source |",
        "| --- | --- | --- | --- |",
        *(
            f"| `{f.claim.rule}` {f.claim.says} | {f.status} | {_why(f).replace('|', ' ')} | "
            f"{f.claim.source}, {f.claim.identifier} |"
            for f in found
        ),
    ]
    return "\n".join([*rows, "", _summary(found, without)])
