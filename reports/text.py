"""Reports as plain text: for programs (CSV, JSON) and for documents (Markdown, LaTeX)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import ClassVar

from bioplaus.analysis.boards import boards
from bioplaus.analysis.report import Report
from bioplaus.records.schema import ResultSet

from .summary import COLUMNS, NO_RECORDS, TaskTable, legend, rows, task_tables

HEADERS = {
    "rule": "Rule",
    "config": "Configuration",
    "seeds": "Seeds",
    "test_score": "Test {}",
    "validation_score": "Validation {}",
    "train_seconds": "Seconds per seed",
    "alignment": "Alignment",
    "spikes": "Spikes",
    "backward_transfer": "Backward transfer (%)",
    "synaptic_operations": "Synaptic operations",
}
TEXT_COLUMNS = {"rule", "config"}
"""Aligned left; the others hold numbers and are aligned right."""


class CsvReport(Report):
    """Comma-separated values, one row per configuration, accuracies as fractions."""

    name: ClassVar[str] = "csv"

    def render(self, results: ResultSet, width: int | None = None) -> str:
        """All columns of the summary in full precision; an empty field is null (RFC 4180)."""
        lines = [",".join(COLUMNS)]
        lines += [",".join(csv_field(row[c]) for c in COLUMNS) for row in rows(results.records)]
        return "\n".join(lines) + "\n"


class JsonReport(Report):
    """JSON list of one object per configuration, accuracies as fractions."""

    name: ClassVar[str] = "json"

    def render(self, results: ResultSet, width: int | None = None) -> str:
        """All columns of the summary in full precision, null where there is no number."""
        return json.dumps(rows(results.records), indent=1, allow_nan=False) + "\n"


class MarkdownReport(Report):
    """Markdown with one table per task, accuracies in percent."""

    name: ClassVar[str] = "markdown"

    def render(self, results: ResultSet, width: int | None = None) -> str:
        """Tables in the GitHub dialect, each under a heading."""
        blocks = [_markdown(table) for table in task_tables(results.records)]
        return "\n\n".join([*blocks, legend(results.records)] if blocks else [NO_RECORDS]) + "\n"


class LatexReport(Report):
    """LaTeX with one booktabs table per task, accuracies in percent."""

    name: ClassVar[str] = "latex"

    def render(self, results: ResultSet, width: int | None = None) -> str:
        """One `table` environment per task, to be read with `\\input`."""
        leading = {
            (s.cell.task, s.cell.rule, s.cell.digest)
            for board in boards(results) for s in board.standings if s.leads
        }  # fmt: skip
        blocks = [_latex(table, leading) for table in task_tables(results.records)]
        heading = r"% In the preamble: \usepackage{booktabs,array}"
        return "\n\n".join([heading, *blocks] if blocks else [f"% {NO_RECORDS}"]) + "\n"


def csv_field(value: str | float | None) -> str:
    """One field: floats as their shortest exact form, quotes only where they are needed.

    Text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    if not isinstance(value, str):
        return "" if value is None else repr(value)
    if value.startswith(("=", "+", "-", "@", "\t", "\r")):
        value = f"'{value}"
    if re.search(r'[",\r\n]', value) or value != value.strip():
        return '"' + value.replace('"', '""') + '"'
    return value


def escape_markdown(text: str) -> str:
    """Markdown that shows the text as it stands, also in a table cell."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&$!])", r"\\\1", text)


def escape_latex(text: str) -> str:
    """LaTeX that shows the text as it stands, in text mode."""
    escaped = "".join(LATEX.get(character, character) for character in text)
    return re.sub(r"-(?=-)", "-{}", escaped)


LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "±": r"$\pm$",
}


def _markdown(table: TaskTable) -> str:
    lines = [
        _line([HEADERS[c].format(table.metric.heading) for c in table.columns], str),
        _line([":---" if c in TEXT_COLUMNS else "---:" for c in table.columns], str),
        *(_line(row, escape_markdown) for row in [*table.rows, *table.references]),
    ]
    return f"## {escape_markdown(table.task)}\n\n" + "\n".join(lines)


def _line(cells: Sequence[str], escape: Callable[[str], str]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"


LATEX_HEADERS = {
    "validation_score": "Val. {}",
    "test_score": "Test {}",
    "train_seconds": "s/seed",
    "alignment": "Align.",
    "synaptic_operations": "Syn. ops",
}
"""Shorter, so that a table fits a page."""


def _latex(table: TaskTable, leading: set[tuple[str, str, str]]) -> str:
    """Bold: nothing is better on that board, and it is better than something."""
    wraps = r">{\raggedright\arraybackslash}p{0.26\linewidth}"
    alignment = "".join(
        wraps if c == "config" else "l" if c in TEXT_COLUMNS else "r" for c in table.columns
    )
    unit = table.metric.short
    names = (LATEX_HEADERS.get(c, HEADERS[c]).format(unit) for c in table.columns)
    body = [" & ".join(map(escape_latex, names))]
    for cell, row in zip(table.cells, table.rows, strict=True):
        best = (cell.task, cell.rule, cell.digest) in leading
        parts = {c: escape_latex(text) for c, text in zip(table.columns, row, strict=True)}
        if best:
            parts["test_score"] = rf"\textbf{{{parts['test_score']}}}"
        body.append(" & ".join(parts[c] for c in table.columns))
    body += [" & ".join(map(escape_latex, row)) for row in table.references]
    body = [line + r" \\" for line in body]
    label = re.sub(r"[^a-z0-9]+", "-", table.task.lower()).strip("-")
    words = legend(record for cell in table.cells for record in cell.records)
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering\small\setlength{\tabcolsep}{4pt}",
            rf"  \caption{{{escape_latex(f'{table.task}. {words}')} Bold: nothing is better after "
            "Holm's correction for all pairs, and it is better than something.}",
            rf"  \label{{tab:bioplaus-{label}}}",
            rf"  \begin{{tabular}}{{{alignment}}}",
            r"    \toprule",
            f"    {body[0]}",
            r"    \midrule",
            *(f"    {line}" for line in body[1:]),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )
