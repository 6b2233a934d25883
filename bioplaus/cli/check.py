"""`bioplaus check`: does a rule keep what the contract asks?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from bioplaus.plugins import registry

if TYPE_CHECKING:
    from bioplaus.testing import Check

plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE",
    help="Take the rules of a Python file, without installing it; repeatable.",
)


def with_files(named: tuple[str, ...], files: tuple[str, ...], how: str) -> tuple[str, ...]:
    """The rules named, else those that the files define; there must be one."""
    found = add_files(files)
    for name in named:
        registry.find("rule", name)
    if not (named or found):
        raise click.UsageError(f"Missing {how}; `bioplaus list rules` names the rules there are.")
    return named or tuple(found)


def add_files(files: tuple[str, ...]) -> list[str]:
    """The names of the rules that the files define, registered."""
    if not files:
        return []
    from bioplaus.plugins.from_file import add_rules

    return [name for file in files for name in add_rules(file)]


@click.command(short_help="Test whether a rule keeps the contract.")
@click.argument("names", metavar="[RULE]...", nargs=-1)
@plugin_option
@click.option("--only", multiple=True, metavar="CHECK", help="Only this check; repeatable.")
def check(names: tuple[str, ...], plugins: tuple[str, ...], only: tuple[str, ...]) -> None:
    """Test a rule: shapes, purity, vmap, independent replicas, determinism, resuming,
    precision, devices, its declared plausibility, its cost, its direction, and digits.

    The verdict is Markdown, with a reason and a hint for every failure; the exit status is
    1 if there is one.

    \b
    bioplaus check gaitprop
    bioplaus check --plugin my_rule.py
    bioplaus check my-rule --plugin my_rule.py --only purity --only vmap
    """
    rules = with_files(names, plugins, "argument 'RULE'")
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("Loading torch ...") as status:
        from bioplaus.errors import UnknownNameError
        from bioplaus.testing import CHECKS, check_rule

        known = [check.name for check in CHECKS]
        for name in only:
            if name not in known:
                raise UnknownNameError("check", name, known)

        def observe(check: Check) -> None:
            status.update(f"{name}: {check.name} ...")

        verdicts = []
        for name in rules:
            plugin = registry.find("rule", name)
            verdicts.append(check_rule(plugin.load(), plugin.source, only=only, observe=observe))
    click.echo("\n".join(verdict.markdown() for verdict in verdicts), nl=False)
    if not all(verdict.passed for verdict in verdicts):
        sys.exit(1)
