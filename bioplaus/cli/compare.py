"""`bioplaus compare`: is one rule better than another, and how sure is that?"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from bioplaus.cli.options import format_option, results_option
from bioplaus.cli.report import warn
from bioplaus.errors import printable

if TYPE_CHECKING:
    from bioplaus.analysis.boards import Board
    from bioplaus.analysis.pairwise import Contrast
    from bioplaus.analysis.statistics import Difference
    from bioplaus.records.metric import Metric

LEGEND = (
    "Difference of mean test scores, accuracies in points, of the seeds that lived, with its 95 % "
    "interval for that task alone; p: for this pair alone, and adjusted (Holm) for all pairs of "
    "the board, which decides; P(better): the chance that a seed of the first does better than "
    "a seed of the second."
)


@click.command(short_help="Is one rule better than another? Difference, interval, verdict.")
@click.argument("rule")
@click.argument("other")
@click.option("--task", "tasks", multiple=True, help="Only this task; repeatable.")
@results_option
@format_option(
    ["table", "json", "csv", "markdown"],
    "How to write it. json and csv have fractions in full precision.",
)
def compare(rule: str, other: str, tasks: tuple[str, ...], results: str, form: str) -> None:
    """Compare two rules on every task that both have records of.

    What is said is what the board shows: a difference counts after the correction for all
    pairs of rules there. Both p-values are given. A configuration of its own is named as
    tables show it, in quotes:

    \b
    bioplaus compare gaitprop backprop
    bioplaus compare "gaitprop ortho=0.05" gaitprop --task mnist-square

    Accuracy is that of the seeds that lived; a rule that diverges in a larger share of its
    seeds is never called better. From ten shared seeds on, seeds are paired.
    """
    from bioplaus.analysis.boards import boards
    from bioplaus.analysis.pairwise import contrasts
    from bioplaus.records.store import Store

    found = Store(results).read_all(tasks=tasks)
    warn(found)
    made = boards(found)
    compared = contrasts(made, rule, other)
    for note in dict.fromkeys(f"{c.board.title}: {n}" for c in compared for n in c.caveats):
        click.echo(f"Note: {printable(note)}", err=True)
    click.echo(_FORMATS[form](made, compared), nl=False)


def _json(made: Sequence[Board], compared: Sequence[Contrast]) -> str:
    from bioplaus.analysis.pairwise import rows

    return json.dumps(rows(made, compared), indent=1, allow_nan=False) + "\n"


def _csv(made: Sequence[Board], compared: Sequence[Contrast]) -> str:
    from bioplaus.analysis.pairwise import rows

    out = io.StringIO()
    found = rows(made, compared)
    writer = csv.DictWriter(out, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return out.getvalue()


COLUMNS = (
    "Task", "Difference", "95 % interval", "p", "Adjusted p", "P(better)", "95 % interval",
    "Seeds", "Verdict",
)  # fmt: skip


def _cells(made: Sequence[Board], compared: Sequence[Contrast]) -> list[list[str]]:
    """What people read, one row per task and one for all of them."""
    from bioplaus.analysis.pairwise import joint_verdict, over_all

    rows, whole = [], over_all(made, compared)
    for c in compared:
        p = c.probability
        rows.append([
            c.board.title,
            *_numbers(c.difference, c.comparison.adjusted, c.board.metric),
            f"{p.value:.2f}" if p else "-",
            f"{p.low:.2f} to {p.high:.2f}" if p else "-",
            _seeds(c),
            c.verdict,
        ])  # fmt: skip
    if whole is not None:
        numbers = _numbers(whole.difference, whole.adjusted, whole.parts[0].a.metric)
        rows.append(["mean of these", *numbers, "", "", "", joint_verdict(whole)])
    return [[printable(cell) for cell in row] for row in rows]


def _numbers(d: Difference | None, adjusted: float | None, metric: Metric) -> list[str]:
    """Difference, interval and both p-values."""
    if d is None:
        return ["-"] * 4
    return [metric.signed(d.value), _range(d, metric), f"{d.p:.2g}",
            "-" if adjusted is None else f"{adjusted:.2g}"]  # fmt: skip


def _seeds(c: Contrast) -> str:
    from bioplaus.analysis.pairwise import pairing

    counts = [
        f"{len(x.scores())}" + (f" ({len(x.diverged)} diverged)" if x.diverged else "")
        for x in (c.a, c.b)
    ]
    return f"{' and '.join(counts)}" + (f", {pairing(c.difference)}" if c.difference else "")


def _range(d: Difference, metric: Metric) -> str:
    known = d.low == d.low  # NaN is not itself
    return f"{metric.signed(d.low)} to {metric.signed(d.high)}" if known else "-"


def _markdown(made: Sequence[Board], compared: Sequence[Contrast]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"

    heading = f"{compared[0].a.rule} against {compared[0].b.rule}"
    ruler = ["---"] + ["---:"] * 6 + ["---"] * 2
    lines = [line(COLUMNS), line(ruler), *map(line, _cells(made, compared))]
    return f"{heading}\n\n" + "\n".join(lines) + f"\n\n{LEGEND}\n"


def _table(made: Sequence[Board], compared: Sequence[Contrast]) -> str:
    """One block per task on any width: what is said, then what it rests on."""
    from rich.console import Console
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(file=io.StringIO(), force_terminal=terminal, width=None if terminal else 100)
    name = f"{compared[0].a.rule} against {compared[0].b.rule}"
    lines: list[Text] = [Text(name, style="bold")]
    for task, diff, interval, p, adjusted, better, spread, seeds, said in _cells(made, compared):
        lines.append(Text.assemble("\n", (task, "bold"), f": {said}"))
        lines.append(Text(f"  difference {diff} ({interval}); p {p}, adjusted {adjusted}"))
        if better:
            lines.append(Text(f"  P(better) {better} ({spread}); seeds: {seeds}"))
    lines.append(Text("\n" + LEGEND, style="dim"))
    with console.capture() as capture:
        for line in lines:
            console.print(line)
    return capture.get()


_FORMATS: dict[str, Callable[[Sequence[Board], Sequence[Contrast]], str]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
    "markdown": _markdown,
}
