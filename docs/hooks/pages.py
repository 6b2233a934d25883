"""Pages made of the code itself: one for each rule, and the record format."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from equations import docstring, inline
from pydantic import BaseModel

from bioplaus.plugins import registry
from bioplaus.records import schema as records
from bioplaus.reports.summary import COLUMNS
from bioplaus.tasks.fields import in_words

RESULTS = Path(__file__).parents[1] / "results"


def rule_pages() -> dict[str, str]:
    """path -> Markdown, of every registered rule and the list of them."""
    rows, pages = [], {}
    for name, plugin in registry.plugins("rule").items():
        rule = plugin.load()
        pages[f"rules/{name}.md"] = _rule(rule, plugin.source)
        profile = rule.configured().plausibility
        rows.append(
            f"| [{name}]({name}.md) | {_cell(_summary(rule))} | {profile.weight_transport} | "
            f"{profile.needs_derivative} |"
        )
    head = "| Rule | In one line | Weight transport | Needs f' |\n| :--- | :--- | :--- | :--- |\n"
    intro = (
        "# The rules\n\nEach page is made from the rule's docstring, options and profile, "
        "as `bioplaus show RULE` prints them.\n\n"
    )
    pages["rules/index.md"] = intro + head + "\n".join(rows) + "\n"
    return pages


def _summary(rule: Any) -> str:
    return (rule.__doc__ or "").partition("\n")[0]


def _rule(rule: Any, source: str) -> str:
    made = rule.configured()
    module = inspect.getdoc(inspect.getmodule(rule)) or ""
    lines = [f"# {rule.name}", "", docstring(inspect.getdoc(rule) or ""), ""]
    if "\n" in module:
        lines += ["## Equations", "", docstring(module), ""]
    lines += ["## Source", "", html.escape(str(rule.citation), quote=False), ""]
    if rule.citation.equations:
        lines += [f"{html.escape(rule.citation.equations, quote=False)}", ""]
    lines += ["## Options", "", *_options(rule), "", "## Plausibility", ""]
    lines += ["With the default options:", "", "| Property | Value |", "| :--- | :--- |"]
    for field, value in made.plausibility.model_dump().items():
        if value != "":
            shown = {True: "yes", False: "no"}.get(value, value)
            lines.append(f"| {field.replace('_', ' ')} | {_cell(str(shown))} |")
    lines += ["", "## Optimizers", ""]
    lines += [f"- of the network: {_optimizer(made.optimizer, 'the task decides')}"]
    lines += [f"- of its auxiliary parameters: {_optimizer(made.aux_optimizer, 'it has none')}"]
    lines += ["", "## Results", "", *_results(rule.name), "", f"Version {rule.version}, {source}."]
    return "\n".join(lines) + "\n"


def _options(rule: Any) -> list[str]:
    fields = rule.Config.model_fields
    if not fields:
        return ["None."]
    rows = ["| Option | Default | What it does |", "| :--- | :--- | :--- |"]
    for name, field in fields.items():
        rows.append(f"| `{name}` | `{field.default!r}` | {_cell(field.description)} |")
    return rows


def _cell(text: str | None) -> str:
    """Prose in a cell of a Markdown table."""
    return inline(text or "").replace("|", "&#124;")


def _optimizer(spec: Any, none: str) -> str:
    if spec is None:
        return none
    if spec == "same":
        return "the same as the network's"
    settings = ", ".join(f"{name}={value}" for name, value in spec.settings().items())
    return f"`{spec.name}({settings})`"


def _results(name: str) -> list[str]:
    """The rows on a rule in the pages of results."""
    found = []
    for path in sorted(RESULTS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        title = text.partition("\n")[0].lstrip("# ")
        for task, table in re.findall(r"^## (.+?)\n+((?:\|.*\n)+)", text, flags=re.M):
            head, rule, *body = table.splitlines()
            kept = [row for row in body if row.split("|")[1].strip() == name]
            if kept:
                where = f"{task}, from [{title}](../results/{path.name}):"
                found += [where, "", head, rule, *kept, ""]
    return found or ["None are published in this documentation."]


def record_page() -> str:
    """The record format, from the models that read and write it."""
    models: list[type[BaseModel]] = [
        item
        for item in vars(records).values()
        if inspect.isclass(item)
        and issubclass(item, BaseModel)
        and item.__module__ == records.__name__
        and not item.__name__.startswith("_")
    ]
    models.sort(key=lambda model: model.__name__ != "Record")
    lines = [
        "# The record format",
        "",
        docstring(inspect.getdoc(records) or ""),
        "",
        "A record is at `results/TASK/RULE/CELL/seed-0003.json`, where `CELL` is the beginning of "
        "the digest of its configuration. This page is made from the models that read and write "
        "the files.",
    ]
    for model in models:
        lines += ["", f"## {model.__name__}", "", *_fields(model, defaults=False)]
    lines += [
        "",
        "## What reports print of them",
        "",
        "`bioplaus report --format csv` and `json` have a row for each rule, task and "
        "configuration. Means and deviations are over the seeds that did not diverge, and null "
        "where one of these lacks the number.",
        "",
        _row(["Column", "Type", "Meaning"]),
        _row([":---"] * 3),
        *(_row([f"`{name}`", kind, meaning]) for name, (kind, meaning) in COLUMNS.items()),
    ]
    return "\n".join(lines) + "\n"


def _fields(
    model: type[BaseModel], without: Sequence[str] = (), defaults: bool = True
) -> list[str]:
    """What a model is, and a table of its fields."""
    lines = [docstring(inspect.getdoc(model) or ""), ""]
    fields = {n: f for n, f in model.model_fields.items() if n not in without}
    if not fields:
        return lines
    columns = ["Field", "Type", *["Default"] * defaults, "Meaning"]
    lines += [_row(columns), _row([":---"] * len(columns))]
    for name, field in fields.items():
        default = "required" if field.is_required() else f"`{field.default!r}`"
        cells = [f"`{field.alias or name}`", _kind(field.annotation), *[default] * defaults]
        lines.append(_row([*cells, _cell(field.description)]))
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _kind(annotation: Any) -> str:
    return f"<code>{html.escape(in_words(annotation)).replace('|', '&#124;')}</code>"
