"""`bioplaus speed`: how fast training is here, and how fast it could be."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Literal

import click

from bioplaus.cli.options import (
    CountsType,
    HomePath,
    compile_option,
    device_option,
    format_option,
    precision_option,
    set_option,
)
from bioplaus.cli.words import count
from bioplaus.plugins import registry
from bioplaus.system.pictures import require_picture

if TYPE_CHECKING:
    from rich.table import Table

    from bioplaus.speed.end_to_end import RunRow
    from bioplaus.speed.measure import Row


_WIDTH = 92
"""What the numbers need; a narrower terminal breaks the lines itself."""


@click.command(short_help="Time training here, beside a plain torch loop and the machine's limit.")
@click.option("--rule", "rules", multiple=True, required=True, help="A learning rule; repeatable.")
@click.option(
    "--task", "tasks", multiple=True, help="A task or FILE.toml; repeatable.  [default: digits]"
)
@click.option(
    "--replicas",
    type=CountsType(),
    default="1,4,16,64",
    show_default=True,
    help="How many seeds train together, one row for each.",
)
@set_option("As for `run`.")
@device_option
@precision_option
@compile_option("on", "on is the speed of long runs; what compiling takes is a column of its own.")
@click.option(
    "--end-to-end",
    is_flag=True,
    help="Time whole runs on the task's data instead, evaluations and all, beside a plain loop "
    "that does the same.",
)
@format_option(["table", "json"], "How to write it.")
@click.option(
    "--plot", type=HomePath(dir_okay=False), metavar="FILE", help="Draw it: .svg, .png or .pdf."
)
def speed(
    rules: tuple[str, ...],
    tasks: tuple[str, ...],
    replicas: list[int],
    assignments: tuple[str, ...],
    device: str,
    precision: str,
    compile: Literal["auto", "on", "off"],
    end_to_end: bool,
    form: str,
    plot: str | None,
) -> None:
    """Time the training step of rules, on synthetic examples of a task's shape, or whole runs.

    Beside it, timed in turn with it: the plain torch loop of one network (nn.Sequential,
    autograd, torch's Adam) learning by backprop, on one thread or all, whichever is faster.
    And the floor: the step's operations at the peak of matrix products measured here, or
    its bytes at the speed of a copy, whichever takes longer.

    \b
    bioplaus speed --rule backprop --rule gaitprop
    bioplaus speed --rule gaitprop --task mnist-square --replicas 1,4 --format json
    bioplaus speed --rule gaitprop --end-to-end --replicas 5,16
    """
    for name in rules:
        registry.find("rule", name)
    if plot is not None and end_to_end:
        raise click.UsageError("--plot draws steps, not whole runs: leave --end-to-end out")
    if plot is not None:
        require_picture(plot, "--plot")
    from rich.console import Console

    status = Console(stderr=True)
    with status.status("Loading torch ..."):
        from bioplaus.benchmark.estimate import in_words
        from bioplaus.experiments.experiment import plan
        from bioplaus.experiments.settings import parse_assignments
        from bioplaus.speed.end_to_end import measure_runs
        from bioplaus.speed.measure import SECONDS_OF_A_ROW, measure
        from bioplaus.system.device import device_name, resolve_device
        from bioplaus.training.execution import Execution

    where = resolve_device(device)
    settings = parse_assignments(assignments)
    experiments = [
        experiment
        for task in tasks or (None,)
        for experiment in plan(rules, task, settings=settings, precision=precision)
    ]
    rows: list[Row] = []
    number = len(experiments) * len(replicas)
    compiling = ", after compiling each, which takes longer (--compile off: none)"
    runs: list[RunRow] = []
    if not end_to_end:
        click.echo(
            f"{count(number, 'row')}: about {in_words(number * SECONDS_OF_A_ROW)}"
            f"{compiling if compile == 'on' else ''}; Ctrl-C stops",
            err=True,
        )

    def watch(what: str) -> None:
        line.update(what)
        if not status.is_terminal and what.endswith("preparing"):
            click.echo(what, err=True)

    try:
        with status.status("Measuring ...") as line:
            for experiment in experiments:
                execution = Execution(where, compile)
                if end_to_end:
                    runs += measure_runs(experiment, replicas, execution, watch=watch)
                else:
                    rows += measure(experiment, replicas, execution, watch=watch)
    except KeyboardInterrupt:
        click.echo("Interrupted: nothing was measured to the end.", err=True)
        sys.exit(130)
    if form == "json":
        import torch

        facts = {"device": device_name(where), "torch": torch.__version__, "precision": precision}
        content = {**facts, "rows": [row.to_dict() for row in runs or rows]}
        click.echo(json.dumps(content, indent=1, allow_nan=False))
    else:
        click.echo(f"{device_name(where)}, {precision}")
        if runs:
            Console(width=max(Console().width, _WIDTH)).print(_run_table(runs))
            click.echo(
                "us: per seed and step, evaluations and all. x eager: seed-steps a second by those "
                "of the plain torch loop\nof one network, which learns by backprop and takes the "
                "same evaluations. Once: what comes beside the epochs."
            )
            return
        for task in dict.fromkeys(row.task for row in rows):
            table = _table([row for row in rows if row.task == task])
            Console(width=max(Console().width, _WIDTH)).print(f"\n{task}", table, sep="\n")
        click.echo(
            "us: per seed and step. x eager: seed-steps a second by those of the plain torch loop "
            "of one network,\nwhich always learns by backprop. Floor, peak: share of what this "
            "machine's measured limits allow (docs/performance.md)."
        )
    if plot is not None:
        from bioplaus.speed.plot import draw

        draw(rows, plot)
        click.echo(f"Wrote {plot}", err=True)


def _table(rows: list[Row]) -> Table:
    heads = ("Rule", "Seeds", "Run", "Threads", "us", "samples/s", "x eager", "Floor %")
    table = _empty(*heads, "Peak %", "MB", "Setup s")
    for row in rows:
        table.add_row(
            row.rule,
            str(row.replicas),
            row.execution,
            str(row.threads),
            f"{1e6 / row.seed_steps_per_second:.0f}",
            f"{row.samples_per_second:,.0f}",
            "-" if row.times_eager is None else f"{row.times_eager:.2f}",
            "-" if row.of_floor is None else f"{100 * row.of_floor:.0f}",
            "-" if row.of_peak is None else f"{100 * row.of_peak:.0f}",
            "-" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.1f}",
            f"{row.setup_seconds:.1f}",
        )
    return table


def _run_table(rows: list[RunRow]) -> Table:
    table = _empty(
        "Rule",
        "Task",
        "Seeds",
        "Run",
        "Epochs",
        "ms/epoch",
        "Evaluation %",
        "us",
        "x eager",
        "Once s",
    )
    for row in rows:
        table.add_row(
            row.rule,
            row.task,
            str(row.replicas),
            row.execution,
            str(row.epochs),
            f"{1e3 * row.epoch_seconds:.1f}",
            f"{100 * row.evaluation_share:.0f}",
            f"{1e6 / row.seed_steps_per_second:.0f}",
            "-" if row.times_eager is None else f"{row.times_eager:.2f}",
            f"{row.once_seconds:.1f}",
        )
    return table


def _empty(*heads: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for head in heads:
        justify: Literal["left", "right"] = "left" if head in ("Rule", "Task", "Run") else "right"
        table.add_column(head, justify=justify, no_wrap=head != "Rule", overflow="fold")
    return table
