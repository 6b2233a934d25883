"""`bioplaus merge`: joining results folders."""

from __future__ import annotations

from pathlib import Path

import click

from bioplaus.cli.options import HomePath
from bioplaus.cli.words import count
from bioplaus.errors import BioplausError


@click.command(short_help="Join results folders.")
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=HomePath())
@click.option(
    "--into", required=True, metavar="DIR", type=HomePath(), help="The folder to copy into."
)
def merge(folders: tuple[str, ...], into: str) -> None:
    """Copy the records of results folders into one.

    Nothing is overwritten and no source is changed. Where two files of one name state
    different results, the one in --into stays, the other is named, and the status is 1.
    """
    from bioplaus.records.merge import merge as join

    done = join([Path(folder) for folder in folders], Path(into))
    for line in done.damaged:
        click.echo(f"Warning: {line}", err=True)
    click.echo(f"{count(done.copied, 'file')} copied into {into}, {done.same} there already.")
    if done.conflicts:
        for line in done.conflicts:
            click.echo(f"Conflict: {line}", err=True)
        raise BioplausError(
            f"{count(len(done.conflicts), 'conflict')}; all files are still where they were"
        )
