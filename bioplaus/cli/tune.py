"""`bioplaus tune`: choose a rule's settings on the validation split of a task."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from bioplaus.cli.check import add_files, plugin_option
from bioplaus.cli.options import (
    results_option,
    set_option,
    storage_option,
)
from bioplaus.cli.words import count
from bioplaus.cli.workers import Workers, workers_options
from bioplaus.errors import PluginError
from bioplaus.plugins import registry

if TYPE_CHECKING:
    from bioplaus.benchmark.plan import Entry
    from bioplaus.records.schema import Tuning
    from bioplaus.records.store import Store


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
@workers_options
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
    results: str,
    **workers: Any,
) -> None:
    """Search a rule's settings on a task, and print what is best on the validation split.

    No trial sees the test split. The first trial is the default configuration; failed and
    diverged trials count. Ctrl-C loses no finished trial, and the same command goes on.
    Within a suite, `bioplaus bench` does the same for every rule with an equal budget.

    \b
    bioplaus tune --rule kolen-pollack --task mnist-mlp --trials 20
    """
    broken: list[str] = []
    add_files(plugins, broken)
    if broken:
        raise PluginError("; ".join(broken))
    registry.find("rule", rule)
    from rich.console import Console

    with Console(stderr=True).status("Loading torch and data ..."):
        from bioplaus.api import get_rule
        from bioplaus.benchmark.plan import Entry
        from bioplaus.experiments.experiment import choose_task
        from bioplaus.experiments.settings import parse_assignments
        from bioplaus.records.schema import TuningBudget
        from bioplaus.records.store import Store
        from bioplaus.tasks.task import read_task

        base = read_task(task) if task else choose_task([get_rule(rule)])
        settings = parse_assignments(assignments)
        changes = {k[5:]: v for k, v in settings.items() if k.startswith("task.")}
        changed = base.updated(changes) if changes else base
        budget = TuningBudget(trials=trials, seeds=seeds, epochs=epochs or changed.epochs)
        entry = Entry(rule, base, changed.load_data(), settings, "fp32", (), budget)
        _ = entry.tuning
    store = Store(results)
    click.echo(
        f"{entry.title}: {count(trials, 'trial')} of {count(seeds, 'seed')}, "
        f"{count(budget.epochs, 'epoch')} each",
        err=True,
    )
    _show(_run(entry, store, storage, Workers(**workers)), entry, task, plugins)


def _run(entry: Entry, store: Store, storage: str | None, asked: Workers) -> Tuning:
    from bioplaus.benchmark.driver import drive
    from bioplaus.benchmark.estimate import wave_sizes
    from bioplaus.benchmark.plan import Place
    from bioplaus.benchmark.work import tuned
    from bioplaus.cli.progress import BenchDisplay

    found: list[Tuning] = []
    try:
        waves = len(wave_sizes(entry.budget.trials)) if entry.budget else 1
        with asked.open() as executor, store.claims, BenchDisplay([waves]) as display:
            place = Place(store, executor.device, storage)
            drive(display.counted([tuned(entry, place, found)]), executor, display)
    except KeyboardInterrupt:
        click.echo(
            "Interrupted. Trials that had finished are saved; the same command goes on.",
            err=True,
        )
        sys.exit(130)
    return found[0]


def _show(tuning: Tuning, entry: Entry, task: str | None, plugins: tuple[str, ...]) -> None:
    from bioplaus.records.metric import metric_of

    metric = metric_of(tuning.configuration)
    for trial in tuning.trials:
        settings = " ".join(f"{k}={v}" for k, v in trial.settings.items()) or "defaults"
        accuracy = trial.validation_accuracy
        score = trial.reason if accuracy is None else metric.text(accuracy)
        note = "" if trial.status == "complete" else f" ({trial.status})"
        mark = "  <- chosen" if trial.settings == tuning.chosen else ""
        click.echo(f"{trial.number:3}  {score}{note}  {settings}{mark}")
    click.echo(f"To train it: {_command(tuning, entry, task, plugins)}")


def _command(tuning: Tuning, entry: Entry, task: str | None, plugins: tuple[str, ...]) -> str:
    from bioplaus.records.commands import set_words
    from bioplaus.system.shell import bioplaus

    words = [word for file in plugins for word in ("--plugin", file)]
    settings = {**entry.settings, **tuning.chosen}
    where = ["--rule", tuning.rule, "--task", task or tuning.task]
    return bioplaus("run", *where, *words, *set_words(settings))
