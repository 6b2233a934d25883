"""What a results folder holds, as data frames."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bioplaus.api.arguments import PathLike, by_name, chosen_path, names_of
from bioplaus.errors import BioplausError, RecordError, UnknownNameError
from bioplaus.plugins import registry

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from bioplaus.records.schema import ResultSet

_SUMMARY = "json"
"""The report that a data frame of means is read from."""


@by_name
def load_results(
    results: PathLike = "results",
    *,
    rule: str | Iterable[str] | None = None,
    task: str | Iterable[str] | None = None,
) -> pandas.DataFrame:
    """All records of a folder, one row per rule, configuration, task and seed.

    rule, task: only these. Columns: as `run`'s. `frame.attrs["problems"]` lists the files that
    could not be read, and the cells that failed. Raises RecordError where there is no record.

        frame = bioplaus.load_results("results", task="digits-mlp")
    """
    import pandas

    from bioplaus.records.rows import to_rows

    found = _read(results, rule, task)
    frame = pandas.DataFrame(to_rows(found.records))
    frame.attrs["problems"] = _problems(found)
    return frame


@by_name
def load_curves(
    results: PathLike = "results",
    *,
    rule: str | Iterable[str] | None = None,
    task: str | Iterable[str] | None = None,
) -> pandas.DataFrame:
    """The curves of all records of a folder, one row per record and epoch.

    rule, task: only these. Columns: task, rule, config, seed, epoch (from 1),
    test_accuracy, validation_accuracy, and one for each metric of the rules, "loss" always.
    Raises RecordError where there is no record.

        curves = bioplaus.load_curves("results", task="digits-mlp")
        curves.pivot_table(index="epoch", columns="rule", values="test_accuracy").plot()
    """
    import pandas

    found = _read(results, rule, task)
    frames = []
    for record in found.records:
        curves = record.curves
        columns = {
            "test_accuracy": curves.test_accuracy,
            "validation_accuracy": curves.validation_accuracy,
            **curves.metrics,
        }
        frame = pandas.DataFrame(
            {name: pandas.Series(v, dtype="float64") for name, v in columns.items()}
        )
        frame.insert(0, "epoch", range(1, len(frame) + 1))
        for name, value in (
            ("seed", record.seed), ("config", record.label), ("rule", record.rule),
            ("task", record.task),
        ):  # fmt: skip
            frame.insert(0, name, value)
        frames.append(frame)
    curves_of_all = pandas.concat(frames, ignore_index=True)
    curves_of_all.attrs["problems"] = _problems(found)
    return curves_of_all


@by_name
def plot_curves(
    curves: pandas.DataFrame, column: str = "test_accuracy", ax: Axes | None = None
) -> Axes:
    """A column of `load_curves`' frame over the epochs, a line for each rule and configuration.

    Lines are means over the seeds, bands from the least to the greatest; of several tasks, each
    has its lines, and a rule that has no such metric has none. The curve of a seed that stopped
    early ends with its best network, and means are of the others from then on. The axes drawn on
    are returned.

    Raises BioplausError where matplotlib is not installed, UnknownNameError for a column that
    there is not.

        bioplaus.plot_curves(bioplaus.load_curves("results", task="digits-mlp"))
    """
    try:
        from matplotlib import pyplot
    except ImportError:
        raise BioplausError("plots need matplotlib: pip install 'bioplaus[plot]'") from None
    if column not in curves:
        raise UnknownNameError("column", column, map(str, curves))
    axes: Axes = ax if ax is not None else pyplot.subplots(layout="constrained")[1]
    scale = 100 if column.endswith("_accuracy") else 1
    several = curves["task"].nunique() > 1
    drawn = curves[curves[column].notna()]
    for (task, rule, config), part in drawn.groupby(["task", "rule", "config"]):
        values = scale * part.groupby("epoch")[column].agg(["mean", "min", "max"])
        label = f"{rule} {config}".strip() + (f" on {task}" if several else "")
        (line,) = axes.plot(values.index, values["mean"], label=label)
        axes.fill_between(
            values.index, values["min"], values["max"], color=line.get_color(), alpha=0.2
        )
    unit = " (%)" if scale == 100 else ""
    axes.set(xlabel="epoch", ylabel=column.replace("_", " ") + unit)
    axes.locator_params(axis="x", integer=True)
    axes.legend()
    return axes


@by_name
def report(
    results: PathLike = "results",
    *,
    rule: str | Iterable[str] | None = None,
    task: str | Iterable[str] | None = None,
) -> pandas.DataFrame:
    """A folder's means and deviations over seeds, one row per rule, configuration and task.

    rule, task: only these. Columns: those of `bioplaus report --format json`, among them task,
    rule, config, seeds, diverged, test_accuracy and test_accuracy_std; accuracies are fractions.
    `frame.attrs["problems"]` as for `load_results`. Raises RecordError where there is no record.

        bioplaus.report("results", task="digits-mlp")[["rule", "test_accuracy"]]
    """
    import pandas

    found = _read(results, rule, task)
    text = registry.load("report", _SUMMARY)().render(found)
    frame = pandas.DataFrame(json.loads(text))
    frame.attrs["problems"] = _problems(found)
    return frame


@by_name
def compare(
    rule: str,
    other: str,
    *,
    task: str | Iterable[str] | None = None,
    results: PathLike = "results",
) -> pandas.DataFrame:
    """Is one rule better than another? One row per task that both have, and one for all of them.

    rule, other: names, or a configuration as tables show it, "gaitprop ortho=0.05".
    Columns: those of `bioplaus compare --format json`, among them task, difference (of mean test
    accuracies, fractions) with difference_low and difference_high, its 95 % interval,
    p_value of the pair alone, p_value_adjusted for all pairs of the board (which decides),
    probability_of_improvement, verdict and caveats.

    Raises RecordError where there is no record, UnknownNameError for a rule without any.

        bioplaus.compare("gaitprop", "backprop")[["task", "difference", "verdict"]]
    """
    import pandas

    from bioplaus.analysis.boards import boards
    from bioplaus.analysis.pairwise import contrasts, rows

    (first,), (second,) = names_of(rule, "rule"), names_of(other, "other")
    found = _read(results, None, task)
    made = boards(found)
    frame = pandas.DataFrame(rows(made, contrasts(made, first, second)))
    frame.attrs["problems"] = _problems(found)
    return frame


def _read(results: object, rule: object, task: object) -> ResultSet:
    from bioplaus.records.store import Store

    folder = chosen_path(results, "results")
    rules, tasks = names_of(rule, "rule"), names_of(task, "task")
    found = Store(folder).read_all(rules, tasks)
    if not found.records:
        wanted = f" of {', '.join([*rules, *tasks])}" if rules or tasks else ""
        damaged = f"; {found.damaged[0]}" if found.damaged else ""
        raise RecordError(
            f"no records{wanted} in {folder}{damaged}; bioplaus.run(...) makes some, and "
            "results= says where"
        )
    return found


def _problems(found: ResultSet) -> list[str]:
    failed = [f"{failure.rule} on {failure.task}: {failure.reason}" for failure in found.failures]
    return [*found.damaged, *failed]
