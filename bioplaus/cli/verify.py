"""`bioplaus verify`: records and tunings run again, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bioplaus.cli.check import add_files, plugin_option
from bioplaus.cli.options import HomePath
from bioplaus.cli.words import count
from bioplaus.errors import BioplausError, PluginError, RecordError

if TYPE_CHECKING:
    from bioplaus.benchmark.reruns import Rerun

_NAMED = 3
"""Files that the last line names."""


@click.command(short_help="Run records and tunings again and compare.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=HomePath())
@plugin_option
@click.option(
    "--sample",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Of what is named, N configurations drawn at random, one record of each.",
)
@click.option(
    "--alone",
    is_flag=True,
    help="Train the seeds named only, not those beside them: quicker, but bits may differ.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Where to write what came out.  [default: verification.json in the results folder]",
)
def verify(
    paths: tuple[str, ...],
    plugins: tuple[str, ...],
    sample: int | None,
    alone: bool,
    output: str | None,
) -> None:
    """Run records and tunings again, and compare. PATH is a file or a folder of them.

    Where device, threads, torch and the seeds trained together are a record's, all must
    agree to the last bit. Elsewhere the first epoch's loss must agree to 1 % (1e-9 in
    fp64), and the test accuracy to 4 standard errors; of a tuning, the settings that were
    tried, and each validation accuracy to 4 standard errors. Label, card and operations must
    be the rule's. What `bioplaus measure` found is measured again from the weights. Times are
    not compared. The status is 1 where something does not reproduce.

    \b
    bioplaus verify results/digits-square/backprop/*/seed-0000.json
    bioplaus verify results --sample 5
    bioplaus verify theirs --plugin their_rule.py
    """
    broken: list[str] = []
    add_files(plugins, broken)
    if broken:
        raise PluginError("; ".join(broken))
    from rich.console import Console

    with Console(stderr=True).status("Loading torch ..."):
        from bioplaus.benchmark.reruns import files_of, rerun, sampled
        from bioplaus.cli.progress import TrainingDisplay

    files = files_of([Path(path) for path in paths])
    if sample is not None:
        files = sampled(files, sample)
        click.echo(f"Drawn: {count(len(files), 'file')} of what is named", err=True)
    done: list[Rerun] = []
    display = TrainingDisplay([])
    try:
        with display:
            for outcome in rerun(files, alone=alone, observe=display.update):
                done.append(outcome)
                _show(outcome, len(files) > 1)
    finally:
        _keep(done, output)
    failed = [_verdict(outcome) for outcome in done if not outcome.reproduces]
    if failed:
        more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        of = f"{len(failed)} of {len(done)} files: " if len(done) > 1 else ""
        raise BioplausError(f"{of}{'; '.join(failed[:_NAMED])}{more}")


def _verdict(outcome: Rerun) -> str:
    if outcome.result == "differs":
        return f"{outcome.path} does not reproduce"
    return f"{outcome.path} could not be run: {'; '.join(outcome.reasons)}"


def _show(outcome: Rerun, several: bool) -> None:
    if several:
        click.echo(outcome.path)
    if outcome.result == "could not be run" and not several:
        return  # the last line says it all
    for reason in outcome.reasons:
        click.echo(f"  {reason}")
    if outcome.reproduces:
        summary = f": {outcome.summary}" if outcome.summary else ""
        click.echo(f"Reproduces {outcome.result}{summary}")
    else:
        click.echo({"differs": "Differs"}.get(outcome.result, "Could not be run"))


def _keep(done: Sequence[Rerun], output: str | None) -> None:
    """What was found, for whoever reads the records later; a folder that is read alone has none."""
    from bioplaus.records.verification import FILE, add_to

    by_file: dict[Path, list[Rerun]] = {}
    for outcome in done:
        if outcome.result != "could not be run":
            by_file.setdefault(Path(output) if output else outcome.root / FILE, []).append(outcome)
    for file, outcomes in by_file.items():
        try:
            add_to(file, [outcome.entry() for outcome in outcomes])
        except RecordError as error:
            if output:
                raise
            click.echo(f"Warning: {error}", err=True)
        else:
            click.echo(f"Wrote {file}", err=True)
