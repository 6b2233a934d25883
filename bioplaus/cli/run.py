"""`bioplaus run`: train rules on a task."""

from __future__ import annotations

import sys
from typing import Literal

import click

from bioplaus.cli.check import plugin_option, tell_not_run, with_files
from bioplaus.cli.options import (
    HomePath,
    NumberType,
    SeedsType,
    compile_option,
    device_option,
    precision_option,
    results_option,
    set_option,
)
from bioplaus.cli.report import rendered
from bioplaus.cli.words import count
from bioplaus.errors import BioplausError
from bioplaus.plugins import registry
from bioplaus.system.secrets import redacted
from bioplaus.system.shell import bioplaus


@click.command(short_help="Train rules on a task; records and a table come out.")
@click.option("--rule", "rules", multiple=True, help="A learning rule; repeatable.")
@plugin_option
@click.option("--task", help="A built-in task or FILE.toml.  [default: a digits task]")
@click.option(
    "--seeds",
    type=SeedsType(),
    default="5",
    show_default=True,
    help="How many seeds (the first N), or a list such as 0-4,7; 3-3 is seed 3 alone.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the data.  [default: task]")
@set_option(
    "option=value for every rule named, rule.option=value for one, optimizer.lr=..., "
    "aux_optimizer.lr=..., task.batch_size=...; repeatable."
)
@device_option
@precision_option
@compile_option("auto", "Compile the training step: auto does where a long run repays it.")
@click.option(
    "--max-replicas",
    type=NumberType(),
    default="auto",
    show_default=True,
    help="Seeds that train together at most; auto is as many as the memory holds.",
)
@results_option
@click.option(
    "--log",
    "logs",
    multiple=True,
    type=click.Choice(registry.names("logger")),
    help="Tell another program of the runs too; repeatable.",
)
@click.option(
    "--log-dir",
    default="logs",
    type=HomePath(),
    show_default=True,
    metavar="DIR",
    help="Folder of what --log writes.",
)
@click.option("--force", is_flag=True, help="Run again what is already in the results folder.")
@click.option("--save-weights", is_flag=True, help="Keep trained parameters beside the records.")
def run(
    rules: tuple[str, ...],
    plugins: tuple[str, ...],
    task: str | None,
    seeds: list[int],
    epochs: int | None,
    assignments: tuple[str, ...],
    device: str,
    precision: str,
    compile: Literal["auto", "on", "off"],
    max_replicas: int,
    results: str,
    logs: tuple[str, ...],
    log_dir: str,
    force: bool,
    save_weights: bool,
) -> None:
    """Train learning rules on a task, all seeds together, and print a table.

    Each (task, rule, configuration, seed) becomes one record in the results folder; what
    is already there is not run again.

    \b
    bioplaus run --rule gaitprop
    bioplaus run --rule gaitprop --rule backprop --task mnist-square --seeds 0-4 --epochs 20
    bioplaus run --rule gaitprop --set ortho=0.05 --set optimizer.lr=3e-4
    bioplaus run --plugin my_rule.py

    `bioplaus list rules` and `bioplaus list tasks` name what there is; `bioplaus show RULE`
    explains a rule's options.
    """
    broken: list[str] = []
    rules = with_files(rules, plugins, "option '--rule'", broken)
    from rich.console import Console

    with Console(stderr=True).status("Loading torch ..."):
        from bioplaus.cli.progress import TrainingDisplay
        from bioplaus.experiments.experiment import Experiment, plan
        from bioplaus.experiments.settings import parse_assignments
        from bioplaus.records.doubts import sources_apart
        from bioplaus.records.schema import ResultSet
        from bioplaus.records.store import Store
        from bioplaus.running.logger import Loggers
        from bioplaus.running.run import run_experiments
        from bioplaus.system.device import device_name, resolve_device
        from bioplaus.training.execution import Execution
        from bioplaus.training.progress import Progress

    settings = parse_assignments(assignments)
    where = resolve_device(device)
    experiments = plan(
        rules, task, epochs=epochs, settings=settings, precision=precision, problems=broken
    )
    tell_not_run(broken)
    chosen = experiments[0].task
    note = "" if task else " (no --task given)"
    click.echo(
        f"{chosen.name}{note}: {', '.join(e.rule.name for e in experiments)}; "
        f"{count(len(seeds), 'seed')}, {count(chosen.epochs, 'epoch')}, "
        f"{device_name(where)}",
        err=True,
    )
    loggers = Loggers(logs, log_dir)
    display = TrainingDisplay(experiments)

    def observe(experiment: Experiment, progress: Progress) -> None:
        display.update(experiment, progress)
        loggers.progress(experiment, progress)

    try:
        with display:
            done = run_experiments(
                experiments,
                seeds,
                Store(results),
                execution=Execution(where, compile, max_replicas or None),
                force=force,
                save_weights=save_weights,
                observe=observe,
                tell=display.tell,
            )
    except KeyboardInterrupt:
        click.echo(
            "Interrupted. Rules that had finished are saved, and where training stood; "
            "the same command goes on from there.",
            err=True,
        )
        sys.exit(130)
    loggers.finish(done.records)
    records, mixed = sources_apart(done.records)
    if records:
        click.echo(rendered(ResultSet(records)), nl=False)
    if done.reused:
        click.echo(
            f"{count(done.reused, 'record')} of {len(done.records)} already in {results}/ "
            "(--force runs them again).",
            err=True,
        )
    for note in done.notes:
        click.echo(f"Note: {note}.", err=True)
    for line in mixed:
        click.echo(f"Warning: {line}", err=True)
    click.echo(f"Records: {results}/  ({bioplaus('report', '--results', results)})", err=True)
    for line in loggers.where:
        click.echo(f"Log: {redacted(line)}", err=True)
    if problems := [*broken, *done.problems, *loggers.problems]:
        raise BioplausError("; ".join(map(redacted, problems)))
