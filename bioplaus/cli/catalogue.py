"""`bioplaus list`: what there is."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from bioplaus import suites, tasks
from bioplaus.plugins import registry

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
    """The types of layers in task files; `bioplaus show LAYER` names the fields of one."""
    from bioplaus.tasks import fields

    own = [(name, what, "built-in") for name, what in fields.layers().items()]
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
