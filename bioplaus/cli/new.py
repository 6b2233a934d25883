"""`bioplaus new`: the start of a plugin of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from bioplaus.cli.options import HomePath
from bioplaus.plugins.defaults import REFERENCE
from bioplaus.scaffold import KINDS, write_package
from bioplaus.system.shell import bioplaus, quoted

_NEXT = {
    "rule": (("check", "{}"), ("run", "--rule", "{}", "--rule", REFERENCE)),
    "dataset": (("list", "datasets"), ("run", "--rule", REFERENCE, "--task", "{}-mlp.toml")),
    "task": (("list", "tasks"), ("run", "--rule", REFERENCE, "--task", "{}")),
}
"""Commands to try what was written; {} is its name."""


@click.command(short_help="Start a plugin: a new rule, dataset or task.")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option(
    "--into",
    default=".",
    show_default=True,
    metavar="DIR",
    type=HomePath(path_type=Path),
    help="Folder to write the package's folder in.",
)
def new(kind: str, name: str, into: Path) -> None:
    """Write a small, complete package for a rule, dataset or task of your own.

    \b
    bioplaus new rule my-rule
    cd my-rule
    pip install -e .
    bioplaus check my-rule

    Once it is installed it is in `bioplaus list`, `run` and `report`, like the built-in ones.
    """
    for path in write_package(kind, name, into):
        click.echo(path)
    commands = [quoted("cd", into / name), quoted("pip", "install", "-e", ".")]
    commands += [bioplaus(*(word.format(name) for word in words)) for words in _NEXT[kind]]
    click.echo("\n  ".join(["\nNext:", *commands]), err=True)
