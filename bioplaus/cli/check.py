"""`bioplaus check`: does a rule keep what the contract asks?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from bioplaus.errors import PluginError, UnknownNameError
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


def with_files(
    named: tuple[str, ...], files: tuple[str, ...], how: str, problems: list[str]
) -> tuple[str, ...]:
    """The rules named, else those that the files define; there must be one.

    A file that cannot be used is told in `problems`, as long as rules of others are named.
    """
    found = add_files(files, problems)
    sound = []
    for name in named or found:
        try:
            problem = registry.find("rule", name).problem
        except UnknownNameError:
            if problems:  # it may be what one of the files would have defined
                raise PluginError("; ".join(problems)) from None
            raise
        if problems and not problem and name in _named_in(files) and name not in found:
            raise PluginError("; ".join(problems))  # another's, of the name of one meant
        if problem not in problems:
            sound.append(name)
    if problems and not sound:
        raise PluginError("; ".join(problems))
    if not sound:
        raise click.UsageError(f"Missing {how}; `bioplaus list rules` names the rules there are.")
    return tuple(sound)


def add_files(files: tuple[str, ...], problems: list[str]) -> list[str]:
    """The names of the rules that the files define, registered; what cannot be in `problems`."""
    if not files:
        return []
    from bioplaus.plugins.from_file import add_rules

    found = []
    for file in files:
        try:
            found += add_rules(file)
        except PluginError as error:
            problems.append(str(error))
    return found


def _named_in(files: tuple[str, ...]) -> set[str]:
    """The names of rules that stand in the files, usable or not."""
    from bioplaus.plugins.from_file import names_in

    return {name for file in files for name in names_in(file)}


def tell_not_run(problems: list[str]) -> None:
    """What is left out, before anything else is done."""
    for line in problems:
        click.echo(f"Not run: {line}", err=True)


@click.command(short_help="Test whether a rule keeps the contract.")
@click.argument("names", metavar="[RULE]...", nargs=-1)
@plugin_option
@click.option("--only", multiple=True, metavar="CHECK", help="Only this check; repeatable.")
@click.option(
    "--task",
    help="Where it is trained and its cost counted: a task or FILE.toml.  [default: a digits task]",
)
def check(
    names: tuple[str, ...], plugins: tuple[str, ...], only: tuple[str, ...], task: str | None
) -> None:
    """Test a rule: shapes, purity, vmap, independent replicas, determinism, resuming,
    precision, devices, its declared plausibility, its cost, its direction, and digits.

    The verdict is Markdown, with a reason and a hint for every failure; the exit status is
    1 if there is one.

    \b
    bioplaus check gaitprop
    bioplaus check --plugin my_rule.py
    bioplaus check my-rule --plugin my_rule.py --only purity --only vmap
    bioplaus check --plugin my_rule.py --task my-task.toml
    """
    problems: list[str] = []
    rules = with_files(names, plugins, "argument 'RULE'", problems)
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("Loading torch ...") as status:
        from bioplaus.testing import CHECKS, check_rule
        from bioplaus.testing.numbers import task_to_try

        known = [check.name for check in CHECKS]
        for name in only:
            if name not in known:
                raise UnknownNameError("check", name, known)
        on = task_to_try(task) if task else None

        def observe(check: Check) -> None:
            status.update(f"{name}: {check.name} ...")

        verdicts = []
        for name in rules:
            plugin = registry.find("rule", name)
            try:
                cls = plugin.load()
            except PluginError as error:
                problems.append(str(error))
                continue
            verdicts.append(check_rule(cls, plugin.source, only=only, observe=observe, task=on))
    click.echo("\n".join(verdict.markdown() for verdict in verdicts), nl=False)
    if problems:
        raise PluginError("; ".join(problems))
    if not all(verdict.passed for verdict in verdicts):
        sys.exit(1)
