"""`bioplaus new`: the start of a plugin of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from bioplaus.scaffold import KINDS, write_package

_NEXT = {
    "rule": "bioplaus check {name}\n  bioplaus run --rule {name} --rule backprop",
    "dataset": "bioplaus list datasets\n  bioplaus run --rule backprop --task {name}-mlp.toml",
    "task": "bioplaus list tasks\n  bioplaus run --rule backprop --task {name}",
}


@click.command(short_help="Start a plugin: a new rule, dataset or task.")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option(
    "--into",
    default=".",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
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
    click.echo(
        f"\nNext:\n  cd {into / name}\n  pip install -e .\n  {_NEXT[kind].format(name=name)}",
        err=True,
    )
