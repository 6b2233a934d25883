"""`bioplaus bench`: run a suite, and only what is missing of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bioplaus import registry
from bioplaus.cli.check import add_files, plugin_option
from bioplaus.cli.options import (
    device_option,
    executor_option,
    format_option,
    jobs_option,
    output_option,
    results_option,
    storage_option,
)
from bioplaus.cli.report import DEFAULT_FORMAT, rendered
from bioplaus.cli.words import count
from bioplaus.errors import BioplausError, ConfigError

if TYPE_CHECKING:
    from bioplaus.bench import Benchmark, Done, Place


@click.command(short_help="Run a suite: rules x tasks x seeds, tuned on equal terms.")
@click.argument("suite", metavar="SUITE")
@plugin_option
@click.option("--dry-run", is_flag=True, help="Show what would run, and how long it may take.")
@jobs_option
@results_option
@device_option
@storage_option
@executor_option
@format_option(registry.names("report"), "How to write the table at the end.", DEFAULT_FORMAT)
@output_option("Write that table to a file.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Write the leaderboard page too.",
)
def bench(
    suite: str,
    plugins: tuple[str, ...],
    dry_run: bool,
    jobs: int,
    results: str,
    device: str,
    storage: str | None,
    executor: str,
    form: str,
    output: str | None,
    html: str | None,
) -> None:
    """Run a suite and print its table: a built-in one by name, or your own FILE.toml.

    Only what has no record yet is run. Ctrl-C loses nothing that was done, and the same
    command goes on. What fails is recorded with its reason, and the rest runs.

    \b
    bioplaus bench quick --dry-run
    bioplaus bench quick --html leaderboard.html
    bioplaus bench my-suite.toml --jobs 8
    bioplaus bench my-suite.toml --plugin my_rule.py

    `bioplaus list suites` names the built-in ones; `bioplaus show quick > my-suite.toml`
    prints one to change.
    """
    if html is not None and "html" not in registry.names("report"):
        raise ConfigError("no report called html is installed; leave out --html")
    from rich.console import Console

    with Console(stderr=True).status("Loading torch and data ..."):
        from bioplaus.bench import Place, expand
        from bioplaus.environment import resolve_device
        from bioplaus.jobs import usable_cores
        from bioplaus.store import Store
        from bioplaus.suite import read_suite

        where = resolve_device(device)
        add_files(plugins)
        benchmark = expand(read_suite(suite))
    place = Place(Store(results), str(where), storage)
    slots = jobs or (usable_cores() if where.type == "cpu" else 1)
    _announce(benchmark)
    if dry_run:
        _show_plan(benchmark, place, slots)
        return
    if not benchmark.entries:
        raise BioplausError(f"nothing of {benchmark.suite.name} can run here")
    place.store.check_writable()
    done = _run(benchmark, place, executor, slots)
    _write(done, place, form, output, html)
    if done.failures:
        reasons = "; ".join(f.reason for f in done.failures)
        raise BioplausError(f"{len(done.failures)} of {len(benchmark.entries)} failed: {reasons}")


def _announce(benchmark: Benchmark) -> None:
    suite = benchmark.suite
    budget = ""
    if suite.tuning is not None:
        budget = (
            f", each tuned with {count(suite.tuning.trials, 'trial')} "
            f"of {count(suite.tuning.seeds, 'seed')}"
        )
    click.echo(
        f"{suite.name}: {count(len(benchmark.entries), 'cell')} "
        f"of {count(len(suite.seeds), 'seed')}{budget}",
        err=True,
    )
    for line in benchmark.skipped:
        click.echo(f"Not run: {line}", err=True)


def _show_plan(benchmark: Benchmark, place: Place, slots: int) -> None:
    from bioplaus.bench import left
    from bioplaus.estimate import in_words, seconds, speeds, total

    lefts = left(benchmark, place)
    known = speeds(place.store.read_all().records if place.store.folder.is_dir() else [])
    for item in lefts:
        tuning = f"{count(item.trials, 'trial')}, then " if item.trials else ""
        time = seconds(item, known)
        click.echo(
            f"{item.entry.title}: {tuning}{count(len(item.seeds), 'seed')}; "
            + ("time unknown" if time is None else f"about {in_words(time)}")
        )
    if not benchmark.entries:
        click.echo("Nothing of it can run here.")
        return
    if not lefts:
        click.echo("Nothing is left to run.")
        return
    time, unknown = total(lefts, known, slots)
    click.echo(
        f"{len(lefts)} of {len(benchmark.entries)} cells to run on {count(slots, 'worker')}: "
        + (f"about {in_words(time)}" if time else "no speed seen yet")
        + (f", and {count(unknown, 'cell')} of unknown time" if unknown and time else "")
    )


def _run(benchmark: Benchmark, place: Place, executor: str, slots: int) -> Done:
    from bioplaus.bench import Done, work
    from bioplaus.cli.progress import BenchDisplay
    from bioplaus.drive import drive

    done = Done()
    works = [work(entry, place, done) for entry in benchmark.entries]
    workers = registry.load("executor", executor)(slots)
    try:
        with workers, BenchDisplay(len(works)) as display:
            drive(display.counted(works), workers, display)
    except KeyboardInterrupt:
        click.echo(
            "Interrupted. What was finished is saved; the same command goes on from there.",
            err=True,
        )
        sys.exit(130)
    return done


def _write(done: Done, place: Place, form: str, output: str | None, html: str | None) -> None:
    from bioplaus.store import write_atomically

    results = done.of(place.store.read_all())
    for line in results.damaged:
        click.echo(f"Warning: {line}", err=True)
    text = rendered(results, form)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_atomically(Path(output), text.encode())
        click.echo(f"Wrote {output}", err=True)
    if html is not None:
        write_atomically(Path(html), rendered(results, "html").encode())
        click.echo(f"Wrote {html}", err=True)
    if done.reused:
        click.echo(f"{done.reused} of {len(done.records)} records were there already.", err=True)
    click.echo(
        f"Records: {place.store.folder}/  (bioplaus report --results {place.store.folder})",
        err=True,
    )
