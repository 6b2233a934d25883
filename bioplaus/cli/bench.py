"""`bioplaus bench`: run a suite, and only what is missing of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bioplaus.cli.check import add_files, plugin_option, tell_not_run
from bioplaus.cli.options import (
    HomePath,
    NumberType,
    format_option,
    output_option,
    results_option,
    storage_option,
)
from bioplaus.cli.plan import show_plan
from bioplaus.cli.report import DEFAULT_FORMAT, rendered, warn, write_out
from bioplaus.cli.words import count
from bioplaus.cli.workers import Workers, workers_options
from bioplaus.errors import BioplausError, ConfigError, RecordError
from bioplaus.plugins import registry
from bioplaus.system.shell import bioplaus

if TYPE_CHECKING:
    from bioplaus.benchmark.plan import Benchmark, Place
    from bioplaus.benchmark.work import Done
    from bioplaus.records.store import Store


@click.command(short_help="Run a suite: rules x tasks x seeds, tuned on equal terms.")
@click.argument("suite", metavar="SUITE")
@plugin_option
@click.option("--dry-run", is_flag=True, help="Show what would run, and how long it may take.")
@click.option(
    "--nodes",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="With --dry-run: simulate that many machines, each with --jobs workers.",
)
@click.option(
    "--gpus-per-node",
    type=click.IntRange(1, 1000),
    metavar="G",
    help="With --nodes: a worker for each of so many GPUs instead.",
)
@workers_options
@click.option(
    "--max-replicas",
    type=NumberType(),
    default="auto",
    show_default=True,
    help="Seeds of a cell that one job trains together at most; auto is as many as are quicker "
    "together than apart. 1 spreads every seed over the workers.",
)
@results_option
@storage_option
@format_option(registry.names("report"), "How to write the table at the end.", DEFAULT_FORMAT)
@output_option("Write that table to a file.")
@click.option(
    "--html",
    type=HomePath(dir_okay=False, writable=True),
    metavar="FILE",
    help="Write the leaderboard page too.",
)
def bench(
    suite: str,
    plugins: tuple[str, ...],
    dry_run: bool,
    nodes: int | None,
    gpus_per_node: int | None,
    max_replicas: int,
    results: str,
    storage: str | None,
    form: str,
    output: str | None,
    html: str | None,
    **workers: Any,
) -> None:
    """Run a suite and print its table: a built-in one by name, or your own FILE.toml.

    Only what has no record yet is run. Ctrl-C loses nothing that was done, and the same
    command goes on. What fails is recorded with its reason, and the rest runs.

    \b
    bioplaus bench quick --dry-run
    bioplaus bench quick --html leaderboard.html
    bioplaus bench my-suite.toml --jobs 8
    bioplaus bench my-suite.toml --plugin my_rule.py
    bioplaus bench my-suite.toml --executor ray --address auto
    bioplaus bench my-suite.toml --dry-run --nodes 16

    `bioplaus list suites` names the built-in ones; `bioplaus show quick > my-suite.toml`
    prints one to change.
    """
    if html is not None and "html" not in registry.names("report"):
        raise ConfigError("no report called html is installed; leave out --html")
    if nodes is not None and not dry_run:
        raise ConfigError("--nodes simulates machines; add --dry-run")
    if gpus_per_node is not None and nodes is None:
        raise ConfigError("--gpus-per-node says what a node has; add --nodes")
    from rich.console import Console

    with Console(stderr=True).status("Loading torch and data ..."):
        from bioplaus.benchmark.plan import Place, expand
        from bioplaus.benchmark.suite import read_suite
        from bioplaus.records.store import Store

        broken: list[str] = []
        add_files(plugins, broken)
        store = Store(results)
        # where nothing is kept yet, all is left, whatever the data are
        kept = store.has_records if dry_run else lambda task: True
        benchmark = expand(read_suite(suite), lambda task: kept(task.name))
    tell_not_run(broken)
    _announce(benchmark, broken)
    asked = Workers(**workers)
    if dry_run:
        place = Place(store, storage=storage, max_replicas=max_replicas or None)
        show_plan(benchmark, place, asked, nodes, gpus_per_node)
        return
    failed = list(dict.fromkeys([*broken, *benchmark.failed]))
    if not benchmark.entries:
        raise BioplausError("; ".join([f"nothing of {benchmark.suite.name} can run here", *failed]))
    done, place = _run(benchmark, store, storage, asked, max_replicas or None)
    _write(done, place, form, output, html)
    if done.failures or done.refused:
        lost = [*(f.reason for f in done.failures), *done.refused]
        reasons = "; ".join(lost)
        failed.append(f"{len(lost)} of {len(benchmark.entries)} failed: {reasons}")
    if failed:
        raise BioplausError("; ".join(failed))


def _announce(benchmark: Benchmark, told: list[str]) -> None:
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
    known = {f"{name}: {why}" for name, why in benchmark.broken.items() if why in told}
    tell_not_run([line for line in benchmark.skipped if line not in known])


def _run(
    benchmark: Benchmark,
    store: Store,
    storage: str | None,
    asked: Workers,
    max_replicas: int | None,
) -> tuple[Done, Place]:
    from bioplaus.benchmark.driver import drive
    from bioplaus.benchmark.estimate import waves_left
    from bioplaus.benchmark.plan import Place
    from bioplaus.benchmark.work import Done, work
    from bioplaus.cli.progress import BenchDisplay
    from bioplaus.records.refusals import add_refusals

    done = Done()
    try:
        with asked.open() as executor:
            place = Place(store, executor.device, storage, max_replicas)
            works = [work(entry, place, done) for entry in benchmark.entries]
            with store.claims, BenchDisplay(waves_left(benchmark, place)) as display:
                drive(display.counted(works), executor, display)
            try:
                add_refusals(store.folder, benchmark.refusals)
            except RecordError as error:
                click.echo(f"Warning: {error}", err=True)
    except KeyboardInterrupt:
        click.echo(
            "Interrupted. What was finished is saved; the same command goes on from there.",
            err=True,
        )
        sys.exit(130)
    return done, place


def _write(done: Done, place: Place, form: str, output: str | None, html: str | None) -> None:
    from bioplaus.system.atomic_files import write_atomically

    results = done.of(place.store.read_all())
    warn(results)
    text = rendered(results, form)
    if output is None:
        write_out(text, form)
    else:
        write_atomically(Path(output), text.encode())
        click.echo(f"Wrote {output}", err=True)
    if html is not None:
        write_atomically(Path(html), rendered(results, "html").encode())
        click.echo(f"Wrote {html}", err=True)
    if done.reused:
        click.echo(f"{done.reused} of {len(done.records)} records were there already.", err=True)
    folder = place.store.folder
    click.echo(f"Records: {folder}/  ({bioplaus('report', '--results', folder)})", err=True)
