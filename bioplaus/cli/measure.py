"""`bioplaus measure`: a property of networks that are trained already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bioplaus.cli.check import add_files, plugin_option
from bioplaus.cli.options import device_option, jobs_option, results_option, set_option
from bioplaus.cli.words import count
from bioplaus.errors import BioplausError, PluginError, RecordError
from bioplaus.plugins import registry

if TYPE_CHECKING:
    from bioplaus.analysis.measured import MeasuredGroup

_NAMED = 3
"""Of what was not measured, how much is named."""
_FEW = 20
"""Records that one process measures before another would have started."""


@click.command(short_help="Measure trained networks: robustness and the like.")
@click.argument("axis", type=click.Choice(registry.names("axis")))
@results_option
@click.option("--rule", "rules", multiple=True, help="Only this rule; repeatable.")
@click.option("--task", "tasks", multiple=True, help="Only this task; repeatable.")
@set_option("A setting of the axis, k=[1,2,4,8] say; `bioplaus show AXIS` names them; repeatable.")
@plugin_option
@jobs_option
@device_option
@click.option("--force", is_flag=True, help="Measure again what is measured already.")
def measure(
    axis: str,
    results: str,
    rules: tuple[str, ...],
    tasks: tuple[str, ...],
    assignments: tuple[str, ...],
    plugins: tuple[str, ...],
    jobs: int,
    device: str,
    force: bool,
) -> None:
    """Measure a property of the networks behind a folder's records.

    Weights come from where `bioplaus run --save-weights` kept them; where there are none, the
    record is trained again, which gives the same network. Each seed's numbers are a file
    beside its record: the record stays as it is, and the page of `bioplaus report --format
    html` has a section for each axis. Few records are measured one after the other, more of
    them by a process for each core; `--jobs 1` keeps to one.

    \b
    bioplaus measure robustness --results results
    bioplaus measure robustness --rule backprop --set k=[1,2,4,8,16] --set queries=0
    """
    broken: list[str] = []
    add_files(plugins, broken)
    if broken:
        raise PluginError("; ".join(broken))
    from rich.console import Console

    with Console(stderr=True).status("Loading torch ..."):
        from bioplaus.analysis.measured import measured
        from bioplaus.axes.by_name import configured
        from bioplaus.axes.measuring import Measuring
        from bioplaus.benchmark.executor import Setup
        from bioplaus.benchmark.executors.local import LocalExecutor
        from bioplaus.benchmark.measuring import measure_by_workers
        from bioplaus.cli.measuring_display import MeasuringDisplay
        from bioplaus.cli.report import warn
        from bioplaus.experiments.settings import parse_assignments
        from bioplaus.records.schema import ResultSet
        from bioplaus.records.store import Store
        from bioplaus.system.device import resolve_device

    chosen = configured(axis, parse_assignments(assignments))
    where = resolve_device(device)
    store = Store(results)
    found = store.read_all()
    warn(found)
    wanted = [
        r for r in found.records
        if (not rules or r.rule in rules) and (not tasks or r.task in tasks)
    ]  # fmt: skip
    if not wanted:
        named = [*(f"--rule {r}" for r in rules), *(f"--task {t}" for t in tasks)]
        raise RecordError(
            f"no records in {results}" + (f" for {' '.join(named)}" if named else "")
            + "; `bioplaus run --rule gaitprop --save-weights` makes some"
        )  # fmt: skip
    with MeasuringDisplay(axis, len(wanted)) as display:
        if jobs == 1 or (jobs == 0 and (len(wanted) < _FEW or where.type != "cpu")):
            done = Measuring(chosen, store, found, where, display.update, force).run(wanted)
        else:
            with LocalExecutor.open(Setup(jobs, str(where))) as executor:
                done = measure_by_workers(executor, chosen, store, wanted, display.update, force)
    for group in measured(ResultSet(wanted, found.tunings, measurements=done.measurements)):
        click.echo(text_of(group))
    if done.reused:
        click.echo(
            f"{count(done.reused, 'measurement')} of {len(done.measurements)} already in "
            f"{results}/ (--force measures them again).",
            err=True,
        )
    for line in done.problems[0 if done.measurements else 1 : _NAMED]:
        click.echo(f"Not measured: {line}", err=True)
    if len(done.problems) > _NAMED:
        click.echo(f"Not measured: {len(done.problems) - _NAMED} more.", err=True)
    if not done.measurements:
        why = f": {done.problems[0]}" if done.problems else ""
        raise BioplausError(f"none of {count(len(wanted), 'record')} could be measured{why}")


def text_of(group: MeasuredGroup) -> str:
    """A group as text: a table for each list, the single numbers beside it."""
    numbers = group.numbers()
    blocks = [f"{group.title}: {group.axis}"]
    for name in group.lists() or [""]:
        said = group.described.get(name)
        heads = [
            *(_head(group, n) for n in numbers),
            *(f"{at:g}" for at in (said.at if said else [])),
        ]
        rows = [["Rule", "Seeds", *heads]]
        for cell in group.cells:
            columns = [*numbers, *([name] if name else [])]
            rows.append([
                cell.name, f"{len(cell.measurements)}",
                *(text for c in columns for text in _numbers(group, cell, c)),
            ])  # fmt: skip
        over = f"{_head(group, name)}, over {said.over}: {said.words}" if said else ""
        blocks.append("\n".join([*([over] if over else []), *_aligned(rows)]))
    return "\n\n".join(blocks) + "\n\nMean ± sample standard deviation over seeds.\n"


def _head(group: MeasuredGroup, name: str) -> str:
    return name.replace("_", " ") + (" %" if group.described[name].share else "")


def _numbers(group: MeasuredGroup, cell: object, name: str) -> list[str]:
    from bioplaus.analysis.measured import MeasuredCell

    assert isinstance(cell, MeasuredCell)
    said = group.described[name]
    factor, digits = (100.0, 1) if said.share else (1.0, 3)
    places = max(1, len(said.at)) if said.over else 1
    texts = [
        "-" if e is None
        else f"{factor * e.value:.{digits}f}" + ("" if d is None else f" ± {factor * d:.{digits}f}")
        for e, d in zip(cell.estimates(name), cell.deviations(name), strict=True)
    ]  # fmt: skip
    return texts + ["-"] * (places - len(texts))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(t.rjust(w) for t, w in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in rows
    ]
