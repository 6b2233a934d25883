"""`bioplaus tune`: choose a rule's settings on the validation split of a task."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from bioplaus import registry
from bioplaus.cli.check import add_files, plugin_option
from bioplaus.cli.options import (
    device_option,
    executor_option,
    jobs_option,
    results_option,
    set_option,
    storage_option,
)
from bioplaus.cli.words import count

if TYPE_CHECKING:
    from bioplaus.bench import Entry, Place
    from bioplaus.records import Tuning


@click.command(short_help="Choose a rule's settings on a task's validation split.")
@click.option("--rule", required=True, help="A learning rule.")
@plugin_option
@click.option("--task", help="A built-in task or FILE.toml.  [default: a digits task]")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Configurations to try, the default one included.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1, max=10_000),
    default=1,
    show_default=True,
    help="Seeds of each trial; no benchmark uses these seeds.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of each trial.  [default: task]")
@set_option("As for `run`; what is set is not searched. Repeatable.")
@storage_option
@jobs_option
@device_option
@executor_option
@results_option
def tune(
    rule: str,
    plugins: tuple[str, ...],
    task: str | None,
    trials: int,
    seeds: int,
    epochs: int | None,
    assignments: tuple[str, ...],
    storage: str | None,
    jobs: int,
    device: str,
    executor: str,
    results: str,
) -> None:
    """Search a rule's settings on a task, and print what is best on the validation split.

    No trial sees the test split. The first trial is the default configuration; failed and
    diverged trials count. Ctrl-C loses no finished trial, and the same command goes on.
    Within a suite, `bioplaus bench` does the same for every rule with an equal budget.

    \b
    bioplaus tune --rule kolen-pollack --task mnist-mlp --trials 20
    """
    add_files(plugins)
    registry.find("rule", rule)
    from rich.console import Console

    with Console(stderr=True).status("Loading torch and data ..."):
        from bioplaus.api import get_rule
        from bioplaus.bench import Entry, Place
        from bioplaus.environment import resolve_device
        from bioplaus.experiment import choose_task
        from bioplaus.jobs import usable_cores
        from bioplaus.records import TuningBudget
        from bioplaus.settings import parse_assignments
        from bioplaus.store import Store
        from bioplaus.task import read_task

        where = resolve_device(device)
        base = read_task(task) if task else choose_task([get_rule(rule)])
        settings = parse_assignments(assignments)
        changes = {k[5:]: v for k, v in settings.items() if k.startswith("task.")}
        changed = base.updated(changes) if changes else base
        budget = TuningBudget(trials=trials, seeds=seeds, epochs=epochs or changed.epochs)
        entry = Entry(rule, base, changed.load_data(), settings, "fp32", (), budget)
        _ = entry.tuning
    place = Place(Store(results), str(where), storage)
    place.store.check_writable()
    click.echo(
        f"{entry.title}: {count(trials, 'trial')} of {count(seeds, 'seed')}, "
        f"{count(budget.epochs, 'epoch')} each",
        err=True,
    )
    slots = jobs or (usable_cores() if where.type == "cpu" else 1)
    _show(_run(entry, place, executor, slots), entry)


def _run(entry: Entry, place: Place, executor: str, slots: int) -> Tuning:
    from bioplaus.bench import tuned
    from bioplaus.cli.progress import BenchDisplay
    from bioplaus.drive import drive

    found: list[Tuning] = []
    workers = registry.load("executor", executor)(slots)
    try:
        with workers, BenchDisplay(1) as display:
            drive(display.counted([tuned(entry, place, found)]), workers, display)
    except KeyboardInterrupt:
        click.echo(
            "Interrupted. Trials that had finished are saved; the same command goes on.",
            err=True,
        )
        sys.exit(130)
    return found[0]


def _show(tuning: Tuning, entry: Entry) -> None:
    for trial in tuning.trials:
        settings = " ".join(f"{k}={v}" for k, v in trial.settings.items()) or "defaults"
        accuracy = trial.validation_accuracy
        score = trial.reason if accuracy is None else f"{100 * accuracy:.2f} %"
        note = "" if trial.status == "complete" else f" ({trial.status})"
        mark = "  <- chosen" if trial.settings == tuning.chosen else ""
        click.echo(f"{trial.number:3}  {score}{note}  {settings}{mark}")
    chosen = {**{k: v for k, v in entry.settings.items()}, **tuning.chosen}
    words = " ".join(f"--set {name}={value}" for name, value in chosen.items())
    click.echo(
        f"To train it: bioplaus run --rule {tuning.rule} --task {tuning.task} {words}".rstrip()
    )
