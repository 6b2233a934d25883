"""`bioplaus merge` and `bioplaus verify`: joining results, and checking them."""

from __future__ import annotations

from pathlib import Path

import click

from bioplaus.cli.words import count
from bioplaus.errors import BioplausError


@click.command(short_help="Join results folders.")
@click.argument("folders", metavar="DIR...", nargs=-1, required=True)
@click.option("--into", required=True, metavar="DIR", help="The folder to copy into.")
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


@click.command(short_help="Run a record again and compare.")
@click.argument("record", metavar="RECORD")
@click.option(
    "--alone",
    is_flag=True,
    help="Train this seed only, not those beside it: quicker, but bits may differ.",
)
def verify(record: str, alone: bool) -> None:
    """Run one record, a file results/TASK/RULE/CELL/seed-0000.json, again and compare.

    Where device, threads, torch and the seeds trained together are the record's, all must
    agree to the last bit. Elsewhere the first epoch's loss must agree to 0.1 % (1e-9 in
    fp64), and the test accuracy to 4 standard errors. The status is 1 where it does not.
    """
    from rich.console import Console

    with Console(stderr=True).status("Loading torch ..."):
        from bioplaus.cli.progress import TrainingDisplay
        from bioplaus.records.store import read_record
        from bioplaus.running.verify import experiment_of
        from bioplaus.running.verify import verify as check

    made = read_record(Path(record))
    experiment, _ = experiment_of(made)
    display = TrainingDisplay([experiment])
    with display:
        verdict = check(
            made, alone=alone, observe=lambda _, where: display.update(experiment, where)
        )
    for line in verdict.reasons:
        click.echo(f"  {line}")
    how = "to the last bit" if verdict.exact else "within the tolerance"
    if not verdict.reproduces:
        raise BioplausError(f"{record} does not reproduce {how}")
    accuracy = verdict.again.test_accuracy
    shown = "" if accuracy is None else f": test accuracy {100 * accuracy:.2f} %"
    click.echo(f"Reproduces {how}{shown}")
