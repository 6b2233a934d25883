"""The board as one HTML file that works offline: tables, figures, configurations, data."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

from bioplaus.analysis.aggregate import aggregate
from bioplaus.analysis.boards import Board, boards
from bioplaus.analysis.report import Report
from bioplaus.errors import BioplausError
from bioplaus.records.schema import ResultSet

from .cell_measures import plain
from .downloads import curve_rows, seed_rows
from .figures import Figure, board_figures, overall_figures
from .html_overview import (
    configurations,
    environments,
    overview_table,
    plausibility_table,
    published_rows,
    shared_conditions,
    tuning_table,
)
from .html_tables import anchor, tuning_anchor
from .leaderboard import board_table, budget, leaders, target, unmeasured

DRAWN_FIRST = 8
"""Rules whose curves are drawn before the reader asks for others."""
UNSAFE = "<>&\u2028\u2029"


class HtmlReport(Report):
    """One web page that works offline, with everything: -o board.html."""

    name: ClassVar[str] = "html"
    for_terminals: ClassVar[bool] = False

    def render(self, results: ResultSet, width: int | None = None) -> str:
        """The page; the same results give the same bytes.

        Raises BioplausError where the extra `report` (jinja2, plotly) is not installed.
        """
        template = _template()
        scripts = [_read("page.js"), _read("plots.js")]
        text: str = template.render(
            **_content(results),
            style=_read("style.css"),
            scripts=scripts,
            policy=content_policy(scripts),
            plotly=_plotly(),
        )
        return text.rstrip("\n") + "\n"


def _content(results: ResultSet) -> dict[str, Any]:
    """All that the template shows."""
    made = boards(results)
    found = aggregate(made)
    rules = sorted({r.rule for r in results.records})
    styles = {rule: i for i, rule in enumerate(rules)}
    sections = [_section(board, i, styles) for i, board in enumerate(made)]
    overall = overall_figures(found, styles) if found else []
    figures = [f for figs in (overall, *(s["figures"] for s in sections)) for f in figs]
    return {
        "rules": rules,
        "records": len(results.records),
        "boards": sections,
        "overview": overview_table(made, found),
        "aggregate": found,
        "overall": overall,
        "overall_chips": [(o.rule, styles[o.rule], i < DRAWN_FIRST)
                          for i, o in enumerate(found.rules)] if found else [],
        "plausibility": plausibility_table(made),
        "published": published_rows(made),
        "tunings": [
            {"id": tuning_anchor(t), "tuning": t, "budget": budget(t), "table": tuning_table(t),
             "space": {plain(k): plain(v) for k, v in sorted(t.space.items())}}
            for t in sorted(results.tunings, key=lambda t: (t.task, t.rule, t.key))
        ],
        "budgets": sorted({budget(t) for t in results.tunings}),
        "environments": environments(results.records),
        "damaged": sorted(plain(line) for line in results.damaged),
        "failures": sorted(
            (f.task, f.rule, plain(f.label), plain(f.reason)) for f in results.failures
        ),
        "data": script_json({
            "figures": {f.id: f.spec() for f in figures},
            "seeds": seed_rows(made),
            "curves": curve_rows(made),
        }),
    }  # fmt: skip


def _section(board: Board, index: int, styles: dict[str, int]) -> dict[str, Any]:
    goal = target(board)
    placed = [s.cell.rule for s in board.standings]
    order = [*placed, *sorted(set(board.entries) - set(placed))]
    figures: Sequence[Figure] = board_figures(board, index, styles)
    table = board_table(board, index)
    return {
        "id": f"board-{index}",
        "board": board,
        "title": plain(board.title),
        "table": table,
        "unmeasured": unmeasured(table),
        "leaders": leaders(board),
        "target": None if goal is None else round(100 * goal),
        "conditions": shared_conditions(board),
        "figures": figures,
        "chips": [(rule, styles[rule], i < DRAWN_FIRST) for i, rule in enumerate(order)],
        "configurations": configurations(board),
        "incomplete": [c.rule for c in board.entries.values() if not board.complete(c)],
        "unranked": [c for c in board.cells if board.entries[c.rule] is not c],
        "anchor": anchor,
    }


def script_json(content: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    for character in UNSAFE:
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def content_policy(scripts: Sequence[str]) -> str:
    """Only these scripts run, and nothing is fetched from anywhere.

    `blob:` is how the page's own script loads the plotting library that it carries.
    """
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{h}'" for h in hashes)
    return (
        f"default-src 'none'; script-src {allowed} blob:; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


@cache
def _plotly() -> str:
    """The plotting library, gzip and base64: two fifths of its size."""
    try:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]
    except ImportError:
        raise _missing("plotly") from None
    packed = gzip.compress(get_plotlyjs().encode(), 9, mtime=0)
    return base64.b64encode(packed).decode()


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
