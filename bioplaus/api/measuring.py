"""Measuring trained networks from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from bioplaus.api.arguments import PathLike, by_name, chosen_path, names_of
from bioplaus.errors import ConfigError, RecordError

if TYPE_CHECKING:
    import pandas

    from bioplaus.records.schema import ResultSet


@by_name
def measure(
    axis: str,
    results: PathLike = "results",
    *,
    rule: str | Iterable[str] | None = None,
    task: str | Iterable[str] | None = None,
    settings: Mapping[str, object] | None = None,
    device: str = "auto",
    force: bool = False,
) -> pandas.DataFrame:
    """Measure a property of the networks behind a folder's records; one row for each number.

    axis: "robustness", say. rule, task: only these. settings: of the axis, {"k": [1, 2, 4]}.
    Weights are those that `run(..., save_weights=True)` kept, or else the record is trained
    again. What `results` already holds is read, not repeated, unless `force`.

    Columns: task, rule, config, seed, measure, over, at, value, cell; `over` and `at` say
    where on its curve a value lies ("" and NaN for a single number). Shares are fractions.
    `frame.attrs["problems"]` lists what was not measured, and why.

    Raises BioplausError: UnknownNameError for an axis or setting that there is not,
    ConfigError for a bad value, RecordError where there is no record or none could be measured.

        frame = bioplaus.measure("robustness", "results", settings={"queries": 0})
        frame[frame.measure == "robust"].groupby(["rule", "at"])["value"].mean()
    """
    import pandas

    from bioplaus.axes.by_name import configured
    from bioplaus.axes.measuring import Measuring
    from bioplaus.records.store import Store
    from bioplaus.system.device import resolve_device

    if not isinstance(axis, str):
        raise ConfigError(f"axis is a name, not {type(axis).__name__}")
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(f"settings are a dict such as {{'k': [1, 2]}}, not {settings!r}")
    chosen, where = configured(axis, settings), resolve_device(device)
    folder, rules, tasks = (
        chosen_path(results, "results"),
        names_of(rule, "rule"),
        names_of(task, "task"),
    )
    store = Store(folder)
    found = store.read_all()
    wanted = [
        r for r in found.records
        if (not rules or r.rule in rules) and (not tasks or r.task in tasks)
    ]  # fmt: skip
    if not wanted:
        raise RecordError(_none_like(found, folder, rules, tasks))
    done = Measuring(chosen, store, found, where, force=force).run(wanted)
    if not done.measurements:
        first, more = done.problems[0], len(done.problems) - 1
        raise RecordError(
            f"none of {len(wanted)} records in {folder} could be measured: {first}"
            + (f" (and {more} more)" if more else "")
        )
    rows = []
    for item in done.measurements:
        for name, value in item.values.items():
            said = item.described[name]
            places = (
                zip(said.at, value, strict=True) if isinstance(value, list) else [(None, value)]
            )
            rows += [
                (
                    item.task,
                    item.rule,
                    item.label,
                    item.seed,
                    name,
                    said.over,
                    at,
                    number,
                    item.cell,
                )
                for at, number in places
            ]
    columns = ["task", "rule", "config", "seed", "measure", "over", "at", "value", "cell"]
    frame = pandas.DataFrame(rows, columns=columns).astype({"at": float, "value": float})
    frame.attrs["problems"] = done.problems
    return frame


def _none_like(
    found: ResultSet, folder: PathLike, rules: Sequence[str], tasks: Sequence[str]
) -> str:
    """What there is no record of, and what there are records of."""
    if not found.records:
        return f"there are no records in {folder}; bioplaus.run(...) makes some"
    asked = [f"{kind} {', '.join(n)}" for kind, n in (("rule", rules), ("task", tasks)) if n]
    there = sorted({f"{r.rule} on {r.task}" for r in found.records})
    some = ", ".join(there[:6]) + (" ..." if len(there) > 6 else "")
    return f"no records of {' and '.join(asked)} in {folder}; there are: {some}"
