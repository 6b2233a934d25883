"""`bioplaus list` and `bioplaus show`: what there is, and what it means."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bioplaus import suites, tasks
from bioplaus.errors import UnknownNameError
from bioplaus.plugins import registry
from bioplaus.plugins.names import BUILT_IN_LAYERS

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Row = tuple[str, str, str]
"""Name, one line, where it comes from."""


@click.group("list", short_help="Name the rules, datasets, tasks, suites, layers or axes.")
def list_group() -> None:
    """Name what there is: one line each, tab-separated where the output is not a terminal."""


@list_group.command("rules")
def list_rules() -> None:
    """The learning rules."""
    _print_rows([(p.name, p.summary(), p.source) for p in registry.plugins("rule").values()])


@list_group.command("datasets")
def list_datasets() -> None:
    """The datasets."""
    _print_rows([(p.name, p.summary(), p.source) for p in registry.plugins("dataset").values()])


@list_group.command("tasks")
@click.option("--rule", help="Only the tasks that this rule can train.")
def list_tasks(rule: str | None) -> None:
    """The tasks; `bioplaus show TASK` prints one to copy."""
    if rule is None:
        names = tasks.names()
    else:
        from bioplaus.api import get_rule
        from bioplaus.experiments.experiment import supported_tasks

        names = [task.name for task in supported_tasks([get_rule(rule)])]
    _print_rows([(name, tasks.description(name), tasks.source(name)) for name in names])


@list_group.command("suites")
def list_suites() -> None:
    """The built-in suites; `bioplaus show SUITE` prints one to copy."""
    _print_rows([(name, suites.description(name), "built-in") for name in suites.names()])


@list_group.command("layers")
def list_layers() -> None:
    """The types of layers in task files."""
    own = [(name, "", "built-in") for name in BUILT_IN_LAYERS]
    others = registry.plugins("layer").values()
    _print_rows([*own, *[(p.name, p.summary(), p.source) for p in others]])


@list_group.command("axes")
def list_axes() -> None:
    """What can be measured of trained networks."""
    _print_rows([(p.name, p.summary(), p.source) for p in registry.plugins("axis").values()])


def _print_rows(rows: Sequence[Row]) -> None:
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    table.add_column(no_wrap=True, style="dim")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


@click.command(short_help="Explain a rule or axis, or print a task's or suite's file.")
@click.argument("name")
def show(name: str) -> None:
    """Explain a rule: its source, equations, options and plausibility profile.

    For a built-in task or suite, print its file: `bioplaus show mnist-mlp > my-task.toml`.
    """
    if name in suites.names():
        _print_file(suites.text(name))
        return
    if name in tasks.names():
        _print_file(tasks.text(name))
        return
    if name in registry.plugins("axis"):
        _show_axis(name)
        return
    from bioplaus.plugins.rules import rule_class

    if name not in registry.plugins("rule"):
        known = [*registry.names("rule"), *tasks.names(), *suites.names(), *registry.names("axis")]
        raise UnknownNameError("rule, task, suite or axis", name, known)
    _show_rule(rule_class(name), registry.find("rule", name).source)


def _print_file(text: str) -> None:
    """TOML is UTF-8, whatever the encoding of where it is piped to."""
    click.echo(text if sys.stdout.isatty() else text.encode(), nl=False)


def _show_rule(rule: Any, source: str) -> None:
    """A rule class in words; wrapped to the terminal, plain where piped."""
    from bioplaus.plugins.rules import check_profile

    made = rule.configured()
    check_profile(made)
    lines = [
        f"{rule.name}  (version {rule.version}, from {source})",
        inspect.getdoc(rule) or "",
        *([f"A preset of {rule.preset_of}: the same rule, other defaults."] * bool(rule.preset_of)),
        "",
        f"Source: {rule.citation}",
    ]
    if rule.citation.equations:
        lines.append(f"        {rule.citation.equations}")
    module = inspect.getdoc(inspect.getmodule(rule))
    if module and "\n" in module:
        lines += ["", "Equations", *(f"  {line}".rstrip() for line in module.splitlines())]
    lines += ["", "Options (--set NAME=VALUE)"]
    fields = rule.Config.model_fields
    lines += [line for name, field in fields.items() for line in _option(name, field)]
    lines += [] if fields else ["  none"]
    if made.optimizer is not None:
        lines += ["", f"Recommended optimizer: {_settings(made.optimizer)}"]
    if made.aux_optimizer is not None:
        own = "as the network's" if made.aux_optimizer == "same" else _settings(made.aux_optimizer)
        lines += ["", f"Optimizer of its auxiliary parameters: {own}"]
    lines += ["", "Plausibility, with the default options"]
    for name, value in made.plausibility.model_dump().items():
        if value != "":
            shown = {True: "yes", False: "no"}.get(value, value)
            lines.append(f"  {name.replace('_', ' '):<18} {shown}")
    click.echo("\n".join(lines))


def _show_axis(name: str) -> None:
    """An axis in words."""
    from bioplaus.axes.by_name import axis_class

    axis, source = axis_class(name), registry.find("axis", name).source
    module = inspect.getdoc(inspect.getmodule(axis)) or ""
    lines = [f"{name}  (version {axis.version}, from {source})", inspect.getdoc(axis) or "", ""]
    lines += [*module.splitlines(), "", "Settings (--set NAME=VALUE)"]
    fields = axis.Config.model_fields
    lines += [line for key, field in fields.items() for line in _option(key, field)]
    click.echo("\n".join([*lines, *([] if fields else ["  none"])]))


def _option(name: str, field: FieldInfo) -> list[str]:
    limits = ", ".join(_limit(m) for m in field.metadata if _limit(m))
    kind = inspect.formatannotation(_plain(field.annotation)).replace("typing.", "")
    facts = ", ".join(part for part in (kind, limits) if part)
    return [f"  {name} = {field.default!r}  ({facts})", f"      {field.description}"]


def _plain(kind: Any) -> Any:
    """A type without what limits the items of a list."""
    if typing.get_origin(kind) is not tuple:
        return kind
    items = [getattr(item, "__origin__", item) for item in typing.get_args(kind)]
    return types.GenericAlias(tuple, tuple(items))


def _limit(mark: object) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return " and ".join(
        f"{sign} {getattr(mark, key)}" for key, sign in signs.items() if hasattr(mark, key)
    )


def _settings(spec: Any) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in spec.settings().items())
    return f"{spec.name}({settings})"
