"""`bioplaus report`: what a results folder holds, as one table."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from bioplaus.cli.options import format_option, output_option, results_option
from bioplaus.cli.words import count
from bioplaus.errors import BioplausError, PluginError, RecordError
from bioplaus.plugins import registry
from bioplaus.plugins.whole import fault
from bioplaus.system.shell import quoted

if TYPE_CHECKING:
    from bioplaus.analysis.report import Report
    from bioplaus.records.schema import ResultSet


DEFAULT_FORMAT = "table"


@click.command(short_help="Show everything in a results folder as one table.")
@results_option
@click.option("--rule", "rules", multiple=True, help="Only this rule; repeatable.")
@click.option("--task", "tasks", multiple=True, help="Only this task; repeatable.")
@format_option(registry.names("report"), "How to write it.", DEFAULT_FORMAT)
@output_option("Write to a file instead of standard output.")
def report(
    results: str, rules: tuple[str, ...], tasks: tuple[str, ...], form: str, output: str | None
) -> None:
    """Summarise the records of a results folder: means and deviations over seeds.

    Accuracies in csv and json are fractions. Damaged records are named on standard error
    and left out.
    """
    from bioplaus.records.store import Store
    from bioplaus.system.gc_pause import collection_paused

    if output is None and on_terminal() and not registry.load("report", form).for_terminals:
        raise BioplausError(f"{form} is a file to open, not text to read here; add -o board.{form}")
    with collection_paused():
        found = Store(results).read_all(rules, tasks)
        warn(found)
        if not found.records:
            wanted = " ".join([*(f"--rule {r}" for r in rules), *(f"--task {t}" for t in tasks)])
            here = "" if results == "results" else f" {quoted('--results', results)}"
            makes = f"`bioplaus run --rule gaitprop{here}` makes some"
            skipped = f" can be read: {count(len(found.damaged), 'file')} skipped, see above"
            raise RecordError(
                f"no records in {results}"
                + (f" for {wanted}" if wanted else "")
                + (skipped if found.damaged else "")
                + f"; {makes}"
            )
        text = rendered(found, form)
    if output is None:
        write_out(text, form)
        return
    from pathlib import Path

    from bioplaus.system.atomic_files import write_atomically

    write_atomically(Path(output), text.encode())
    click.echo(f"Wrote {output}", err=True)


def warn(found: ResultSet) -> None:
    """What could not be read, and what looks wrong in what could."""
    for line in (*found.damaged, *found.doubts):
        click.echo(f"Warning: {line}", err=True)


def rendered(results: ResultSet, form: str = DEFAULT_FORMAT) -> str:
    """The results in a report's format, as wide as the terminal where there is one."""
    from bioplaus.system.blame import blaming

    plugin = registry.find("report", form)
    cls: type[Report] = plugin.load()
    from bioplaus.analysis.report import Report as Base

    if wrong := fault(cls, Base, "bioplaus.Report"):
        raise PluginError(f"{plugin.title}: {wrong}")
    width = shutil.get_terminal_size().columns if on_terminal() else None
    with blaming(f"{plugin.title} failed; the records are kept, and other formats show them", cls):
        text: object = cls().render(results, width)
    if not isinstance(text, str):
        raise PluginError(
            f"{plugin.title}: `render` returned a {type(text).__name__}; return the report as text"
        )
    return text if text.endswith("\n") else text + "\n"


def write_out(text: str, form: str) -> None:
    """To standard output; what is a file to open is UTF-8, whatever the terminal's encoding."""
    maker: type[Report] = registry.load("report", form)
    click.echo(text if maker.for_terminals else text.encode(), nl=False)


def on_terminal() -> bool:
    """Whether somebody reads standard output as it comes."""
    return sys.stdout.isatty()
