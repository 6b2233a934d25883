"""Training from Python: rules on a task, a suite, a search of settings; data frames come back."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from bioplaus.api.arguments import (
    PathLike,
    RuleLike,
    by_name,
    chosen_count,
    chosen_path,
    chosen_rules,
    chosen_seeds,
    chosen_task,
    chosen_word,
)
from bioplaus.api.frames import frame_of
from bioplaus.errors import BioplausError, ConfigError
from bioplaus.plugins import registry
from bioplaus.plugins.from_class import ClassPlugin

if TYPE_CHECKING:
    import pandas

    from bioplaus.benchmark.executor import Executor

_MOST_EPOCHS = 1_000_000


@by_name
def run(
    rules: RuleLike | Iterable[RuleLike] | None = None,
    task: PathLike | None = None,
    seeds: int | Iterable[int] = 5,
    *,
    epochs: int | None = None,
    settings: Mapping[str, object] | None = None,
    plugin: PathLike | Iterable[PathLike] | None = None,
    results: PathLike = "results",
    device: str = "auto",
    precision: str = "fp32",
    compile: Literal["auto", "on", "off"] = "auto",
    max_replicas: int | None = None,
    force: bool = False,
    save_weights: bool = False,
) -> pandas.DataFrame:
    """Train rules on a task and return one row per rule and seed.

    rules: a name, a rule's class or a rule, or several; None for all of `plugin`, Python files
    with rules. task: a built-in name or FILE.toml; None for the default.
    seeds: how many, or which. settings: as `--set`, {"gaitprop.ortho": 0.05}.
    compile: the training step; "auto" where that is likely to repay its time.
    max_replicas: seeds that train together; None for as many as fit the device.
    Runs that `results` already holds are read, not repeated, unless `force`; what another
    process is training there is waited for, with a line on standard error.

    Columns: task, rule, config, seed, status ("ok" or "diverged"), test_accuracy,
    validation_accuracy, train_loss, epochs, train_seconds, cell, key, metric (what the task is
    judged by: accuracy, r2, ...), test_score, validation_score. Accuracies are fractions.
    `frame.attrs["problems"]` lists what failed without stopping the rest, and "notes" what
    ran otherwise than asked for, a step that could not be compiled say.

    Raises UnknownNameError, ConfigError, UnsupportedError, PluginError, DataError or
    RecordError, all of them BioplausError; that itself where nothing came of any rule.

        frame = bioplaus.run(["gaitprop", "backprop"], "digits-mlp", seeds=5, epochs=3)
        frame.groupby("rule")["test_accuracy"].mean()
    """
    from bioplaus.experiments.experiment import plan
    from bioplaus.records.store import Store
    from bioplaus.running.run import run_experiments
    from bioplaus.system.device import resolve_device
    from bioplaus.training.execution import Execution

    chosen = chosen_rules(rules, settings, plugin)
    wanted = chosen_seeds(seeds)
    if epochs is not None:
        epochs = chosen_count(epochs, "epochs", _MOST_EPOCHS)
    if max_replicas is not None:
        max_replicas = chosen_count(max_replicas, "max_replicas", 10_000)
    how = chosen_word(compile, "compile", ("auto", "on", "off"))
    folder = chosen_path(results, "results")
    broken: list[str] = []
    experiments = plan(
        chosen.names,
        chosen_task(task),
        epochs=epochs,
        settings=chosen.settings,
        precision=precision,
        problems=broken,
    )
    done = run_experiments(
        experiments,
        wanted,
        Store(folder),
        execution=Execution(resolve_device(device), how, max_replicas),  # type: ignore[arg-type]
        force=force,
        save_weights=save_weights,
        tell=lambda line: print(line, file=sys.stderr),
    )
    return frame_of(done.records, [*broken, *done.problems], done.notes)


@by_name
def bench(
    suite: PathLike,
    *,
    plugin: PathLike | Iterable[PathLike] | None = None,
    results: PathLike = "results",
    jobs: int | None = None,
    device: str = "auto",
    executor: str = "local",
    address: str | None = None,
    timeout: float = 1800,
    storage: str | None = None,
    max_replicas: int | None = None,
) -> pandas.DataFrame:
    """Run a suite, and only what is missing of it; one row per rule, task and seed.

    suite: a built-in name or FILE.toml. The rest as the options of `bioplaus bench`; jobs:
    None for one per core, or one on a GPU.

    Columns: as `run`'s. `frame.attrs["problems"]` lists the cells that failed, with reasons,
    and "notes" what of the suite cannot run here.

    Raises BioplausError: UnknownNameError for a suite or rule that there is not, ConfigError
    for a mistake in the suite, RecordError where records cannot be written.

        frame = bioplaus.bench("quick", results="results", jobs=2)
    """
    from bioplaus.benchmark.plan import Place, expand
    from bioplaus.benchmark.suite import read_suite
    from bioplaus.benchmark.work import Done, work
    from bioplaus.records.refusals import add_refusals
    from bioplaus.records.store import Store

    if plugin is not None:
        chosen_rules(None, None, plugin)
    named = chosen_task(suite)
    if named is None:
        raise ConfigError("name a suite, such as 'quick', or a path of FILE.toml")
    benchmark = expand(read_suite(named))
    if not benchmark.entries:
        raise BioplausError(
            f"nothing of {benchmark.suite.name} can run here: {'; '.join(benchmark.skipped)}"
        )
    _check_known_to_workers(entry.rule for entry in benchmark.entries)
    store = Store(chosen_path(results, "results"))
    store.check_writable()
    done = Done()
    with _open(executor, jobs, device, timeout, address) as opened:
        place = Place(store, opened.device, storage, max_replicas)
        _drive([work(entry, place, done) for entry in benchmark.entries], opened, store)
    add_refusals(store.folder, benchmark.refusals)
    records = done.of(store.read_all()).records
    problems = [*(f"{f.rule} on {f.task}: {f.reason}" for f in done.failures), *done.refused]
    return frame_of(records, problems, benchmark.skipped)


@by_name
def tune(
    rule: RuleLike,
    task: PathLike | None = None,
    *,
    trials: int = 20,
    seeds: int = 1,
    epochs: int | None = None,
    settings: Mapping[str, object] | None = None,
    plugin: PathLike | Iterable[PathLike] | None = None,
    results: PathLike = "results",
    jobs: int | None = None,
    device: str = "auto",
    executor: str = "local",
    address: str | None = None,
    timeout: float = 1800,
    storage: str | None = None,
) -> pandas.DataFrame:
    """Search a rule's settings on the validation split of a task; one row per trial.

    rule, task: as for `run`, but for classes, which workers cannot see. trials: configurations
    to try, the default one included. seeds: of each trial. epochs: of each; None for the task's.
    settings: what is set is not searched.

    Columns: number, status, validation_accuracy, reason (why it gave none), chosen, and one for
    each setting that was searched. `frame.attrs["settings"]` are those chosen, as `run` takes
    them.

    Raises BioplausError, as `run`; also where Optuna is not installed.

        trials = bioplaus.tune("kolen-pollack", "mnist-mlp", trials=20)
        bioplaus.run("kolen-pollack", "mnist-mlp", settings=trials.attrs["settings"])
    """
    import pandas

    from bioplaus.api.rules import get_rule
    from bioplaus.benchmark.plan import Entry, Place
    from bioplaus.benchmark.work import tuned
    from bioplaus.experiments.experiment import choose_task
    from bioplaus.records.schema import Tuning, TuningBudget
    from bioplaus.records.store import Store
    from bioplaus.tasks.task import read_task

    chosen = chosen_rules(rule, settings, plugin)
    if len(chosen.names) != 1:
        raise ConfigError(f"tune takes one rule, not {len(chosen.names)}")
    (name,) = chosen.names
    _check_known_to_workers([name])
    given = {key.removeprefix(f"{name}."): value for key, value in chosen.settings.items()}
    budget_trials = chosen_count(trials, "trials", 100_000)
    budget_seeds = chosen_count(seeds, "seeds (of a trial)", 10_000)
    named = chosen_task(task)
    base = read_task(named) if named else choose_task([get_rule(name)])
    changes = {key[5:]: value for key, value in given.items() if key.startswith("task.")}
    changed = base.updated(changes) if changes else base
    length = changed.epochs if epochs is None else chosen_count(epochs, "epochs", _MOST_EPOCHS)
    budget = TuningBudget(trials=budget_trials, seeds=budget_seeds, epochs=length)
    entry = Entry(name, base, changed.load_data(), given, "fp32", (), budget)
    _ = entry.tuning
    store = Store(chosen_path(results, "results"))
    store.check_writable()
    found: list[Tuning] = []
    with _open(executor, jobs, device, timeout, address) as opened:
        place = Place(store, opened.device, storage)
        _drive([tuned(entry, place, found)], opened, store)
    (tuning,) = found
    rows = [
        {
            "number": trial.number,
            "status": trial.status,
            "validation_accuracy": trial.validation_accuracy,
            "reason": trial.reason,
            "chosen": trial.settings == tuning.chosen,
            **trial.settings,
        }
        for trial in tuning.trials
    ]
    frame = pandas.DataFrame(rows)
    frame.attrs["settings"] = {**given, **tuning.chosen}
    return frame


def _open(
    executor: str, jobs: int | None, device: str, timeout: float, address: str | None
) -> Executor:
    from bioplaus.benchmark.executor import Setup
    from bioplaus.benchmark.opened import open_executor

    number = 0 if jobs is None else chosen_count(jobs, "jobs", 10_000)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout < 0:
        raise ConfigError(f"timeout is a number of seconds, 0 for none, not {timeout!r}")
    setup = Setup(number, device, timeout or None, address)
    return open_executor(executor, setup)


def _drive(works: list[Any], executor: Executor, store: Any) -> None:
    from bioplaus.benchmark.driver import Spectator, drive

    with store.claims, _script_unseen():
        drive(works, executor, Spectator())


@contextmanager
def _script_unseen() -> Iterator[None]:
    """Workers need nothing of the caller's script; each would run it again on its start."""
    main = vars(sys.modules["__main__"])
    names: list[str] = ["__file__", "__spec__"]
    kept = {name: main.pop(name) for name in names if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(kept)


def _check_known_to_workers(rules: Iterable[str]) -> None:
    """ConfigError for a rule whose class other processes cannot import."""
    for name in rules:
        if isinstance(registry.find("rule", name), ClassPlugin):
            raise ConfigError(
                f"the class of {name} is known in this process alone, and workers need it too: put "
                "it into a file, and give plugin='my_rule.py' and its name"
            )
