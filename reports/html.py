"""The board as one HTML file that works offline: verdict, tables, figures, data."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

from bioplaus.analysis.aggregate import aggregate
from bioplaus.analysis.boards import Board, boards, in_words
from bioplaus.analysis.cells import SHARED, Cell
from bioplaus.analysis.field import field
from bioplaus.analysis.measured import measured
from bioplaus.analysis.references import references
from bioplaus.analysis.report import Report
from bioplaus.analysis.sweeps import Sweep, sweeps
from bioplaus.errors import BioplausError, printable
from bioplaus.records.metric import ACCURACY, Metric
from bioplaus.records.schema import ResultSet

from .cell_measures import command
from .claims_section import claims_section
from .downloads import curve_rows, seed_rows
from .field_figures import field_figures
from .figures import board_figures
from .html_facts import (
    days,
    environments,
    plausibility_table,
    pretty,
    published_rows,
    rule_sources,
    shared_conditions,
    tuning_table,
)
from .html_tables import Line, anchor, slug, tuning_anchor
from .leaderboard import board_table, leaders, target, unmeasured
from .measured_section import measured_sections
from .overview import overview_table, papers, refused
from .profiles import Profile, cards, profile
from .runs_figures import runs_figures
from .standing import Standings, standings, verdict
from .sweep_figures import sweep_figures
from .sweep_verdict import sweep_verdicts

DRAWN_FIRST = 20
"""Rules that figures show before the reader asks for others."""
UNSAFE = "<>&\u2028\u2029"


class HtmlReport(Report):
    """One web page that works offline, with everything: -o board.html."""

    name: ClassVar[str] = "html"
    for_terminals: ClassVar[bool] = False

    def render(self, results: ResultSet, width: int | None = None) -> str:
        """The page; the same results give the same bytes.

        Raises BioplausError where the extra `report` (jinja2) is not installed.
        """
        template = _template()
        script = _read("page.js")
        text: str = template.render(
            **_content(results),
            style=_read("style.css"),
            script=script,
            policy=content_policy([script]),
        )
        return text.rstrip("\n") + "\n"


def _content(results: ResultSet) -> dict[str, Any]:
    """All that the template shows."""
    made = boards(results)
    whole = field(made)
    found, block = standings(whole), aggregate(whole)
    of_rules = cards(made)
    profiles = {rule: profile(rule, card) for rule, card in of_rules.items()}
    order = list(dict.fromkeys([*(o.rule for o in found.placed), *of_rules]))
    styles = {rule: i for i, rule in enumerate(order)}
    overview = overview_table(whole.boards, whole, found, profiles, results.refusals)
    sections = [_section(board, i, styles) for i, board in enumerate(made)]
    axes = measured_sections(measured(results), styles)
    plausibility, sources = plausibility_table(made), rule_sources(results.records)
    claims = claims_section(results.records, order)
    tunings = [
        {"id": tuning_anchor(t), "tuning": t, "budget": in_words(t.budget),
         "table": tuning_table(t),
         "space": {printable(k): printable(v) for k, v in sorted(t.space.items())}}
        for t in sorted(results.tunings, key=lambda t: (t.task, t.rule, t.key))
    ]  # fmt: skip
    tables = [overview, *(s["table"] for s in sections), *(t["table"] for t in tunings)]
    tables += [t for t in (plausibility, sources, claims and claims.table) if t is not None]
    tables += [g["table"] for axis in axes for g in axis["groups"]]
    titles, swept = [printable(board.title) for board in whole.boards], sweeps(made)
    return {
        "verdict": _verdict(found, profiles, titles, swept, made) if results.records else "",
        "reference": found.reference,
        "rules": order,
        "tasks": sorted({board.task for board in made}),
        "seeds": sorted({len(c.records) for b in made for c in b.entries.values()}),
        "records": len(results.records),
        "days": days(results.records),
        "boards": sections,
        "axes": axes,
        "overview": overview,
        "chosen": titles if len(made) > len(titles) else [],
        "refused": refused(results.refusals),
        "overall": [*sweep_figures(swept, styles),
                    *field_figures(whole, found, profiles, styles),
                    *(runs_figures(block, styles) if block else [])],
        "chips": [(rule, styles[rule], True) for rule in order],
        "plausibility": plausibility,
        "papers": papers(of_rules),
        "claims": claims,
        "published": published_rows(made),
        "tunings": tunings,
        "budgets": sorted({t["budget"] for t in tunings}),
        "environments": environments(results.records),
        "sources": sources,
        "damaged": sorted(printable(line) for line in results.damaged),
        "failures": sorted(
            (f.task, f.rule, printable(f.label), printable(f.reason)) for f in results.failures
        ),
        "doubts": sorted(map(printable, results.doubts)) or doubts(made),
        "data": packed({
            "seeds": seed_rows(made),
            "curves": curve_rows(made),
            "tables": {t.id: t.download() for t in tables},
            "others": {t.id: [_line(line) for line in t.others] for t in tables if t.others},
            "configurations": _configurations(made),
        }),
    }  # fmt: skip


def _verdict(
    found: Standings,
    profiles: Mapping[str, Profile],
    titles: Sequence[str],
    swept: Sequence[Sweep],
    made: Sequence[Board],
) -> str:
    """Of sweeps, of whose boards only one is among those of the field, and of what is no sweep."""
    said = sweep_verdicts(swept, profiles)
    inside = {board.title for sweep in swept for board in sweep.boards}
    if not said or not {board.title for board in made} <= inside:
        said.append(verdict(found, profiles, titles))
    return " ".join(said)


def _section(board: Board, index: int, styles: dict[str, int]) -> dict[str, Any]:
    goal = target(board)
    placed = [s.cell.rule for s in board.standings]
    order = [*placed, *sorted(set(board.entries) - set(placed))]
    table = board_table(board, index)
    return {
        "id": f"task-{slug(board.title)}",
        "number": index,
        "board": board,
        "title": printable(board.title),
        "budget": in_words(board.budget),
        "table": table,
        "unmeasured": unmeasured(table, board.metric),
        "leaders": leaders(board),
        "references": _references(board),
        "pairs": len(board.comparisons),
        "target": None if goal is None else _goal_words(goal, board.metric),
        "conditions": shared_conditions(board),
        "figures": board_figures(board, index, styles),
        "chips": [(rule, styles[rule], i < DRAWN_FIRST) for i, rule in enumerate(order)],
        "incomplete": [c.rule for c in board.entries.values() if c.absent],
    }


def _references(board: Board) -> str:
    """What probes find without learning, in a sentence; "" where nothing was probed."""
    words = []
    for found in references(r for cell in board.cells for r in cell.records):
        mean = ACCURACY.shown(statistics.fmean(found.test), 1)
        spread = ACCURACY.shown(statistics.stdev(found.test), 1) if len(found.test) > 1 else ""
        words.append(f"{found.name} {mean}" + f" \u00b1 {spread}" * bool(spread) + " %")
    return ", ".join(words)


def _goal_words(goal: float, metric: Metric) -> str:
    if metric.lower_is_better:
        return f"a validation {metric.words} of {metric.text(goal)}: 5 % above the best rule's"
    return (f"{metric.text(goal, 0)} validation {metric.words}: 95 % of the best rule's, "
            "rounded down")  # fmt: skip


def doubts(made: Sequence[Board]) -> list[str]:
    """What a reader should know of records that are shown but not believed as they stand.

    For results that no store has read, which names its doubts itself.
    """
    found = []
    for board in made:
        for cell in board.cells:
            name = f"{cell.short_name} on {board.title}"
            for seeds in cell.copies:
                listed = ", ".join(map(str, seeds))
                found.append(f"{name}: seeds {listed} learned alike to the last bit: copies of one")
            others = [c for c in board.cells if c.rule == cell.rule and c.digest == cell.digest
                      and c.source != cell.source]  # fmt: skip
            if others:
                source = (cell.source or "unknown")[:16]
                found.append(f"{name}: {len(cell.records)} records are of the rule source "
                             f"{source}, others of another; they are not averaged")  # fmt: skip
            if cell.absent and board.entries[cell.rule] is cell:
                listed = ", ".join(map(str, cell.absent))
                found.append(f"{name}: seed {listed} trained with the others and is not here")
    return sorted({printable(line) for line in found})


def _configurations(made: Sequence[Board]) -> dict[str, list[str]]:
    """Of each cell its name, what its key covers beyond what the board shares, and its command."""
    return {
        anchor(cell): [
            printable(f"{cell.short_name} on {board.title}"),
            pretty(_own(cell)),
            command(cell),
            cell.digest,
        ]
        for board in made
        for cell in board.cells
    }


def _own(cell: Cell) -> dict[str, Any]:
    """A cell's configuration beyond what the board shares; by seed where seeds differ in it."""
    parts = {
        ", ".join(f"seed {r.seed}" for r in records): {
            k: v for k, v in records[0].configuration.items() if k not in SHARED
        }
        for records in cell.parts.values()
    }
    return parts if len(parts) > 1 else next(iter(parts.values()))


def _line(line: Line) -> list[list[Any]]:
    """A row that the page draws when it is asked for: text, note, kind, link."""
    return [[e.text, e.note, e.kind, e.link] for e in line.entries]


def packed(content: Any) -> str:
    """JSON, gzip and base64: nothing in it can end the script element it stands in."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def content_policy(scripts: Sequence[str]) -> str:
    """Only these scripts run, and nothing is fetched from anywhere."""
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{h}'" for h in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


@cache
def _template() -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise _missing("jinja2") from None
    environment = Environment(
        loader=PackageLoader("bioplaus.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["raw"] = Markup
    return environment.get_template("page.html")


def _missing(package: str) -> BioplausError:
    return BioplausError(
        f"the html report needs {package}, which is not installed; "
        "pip install 'bioplaus[report]' (in a checkout: pip install -e '.[report]')"
    )


def _read(name: str) -> str:
    return (files("bioplaus.reports") / "templates" / name).read_text(encoding="utf-8")
