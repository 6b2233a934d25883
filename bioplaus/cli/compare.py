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

if TYPE_CHECKING:
    from bioplaus.analysis.pairwise import Contrast
    from bioplaus.analysis.statistics import Difference

LEGEND = (
    "Difference of mean test accuracies in points, with its 95 % interval for that task alone; "
    "P(better): the chance that a seed of the first does better than a seed of the second."
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

    Seeds are paired where both rules have them. A configuration of its own is named as
    tables show it, in quotes:

    \b
    bioplaus compare gaitprop backprop
    bioplaus compare "gaitprop ortho=0.05" gaitprop --task mnist-square

    A seed that diverged counts as accuracy 0.
    """
    from bioplaus.analysis.boards import boards
    from bioplaus.analysis.pairwise import contrasts
    from bioplaus.records.store import Store

    found = Store(results).read_all(tasks=tasks)
    warn(found)
    compared = contrasts(boards(found), rule, other)
    for note in dict.fromkeys(f"{c.board.title}: {n}" for c in compared for n in c.caveats):
        click.echo(f"Note: {_printable(note)}", err=True)
    click.echo(_FORMATS[form](compared), nl=False)


def _json(compared: Sequence[Contrast]) -> str:
    return json.dumps([c.row() for c in compared], indent=1, allow_nan=False) + "\n"


def _csv(compared: Sequence[Contrast]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(compared[0].row()), lineterminator="\n")
    writer.writeheader()
    writer.writerows(c.row() for c in compared)
    return out.getvalue()


COLUMNS = ("Task", "Difference", "95 % interval", "P(better)", "95 % interval", "Seeds", "Verdict")


def _cells(compared: Sequence[Contrast]) -> list[list[str]]:
    """What people read, one row per task and one for all of them."""
    from bioplaus.analysis.pairwise import over_all, pairing, verdict

    rows = []
    for c in compared:
        d, p = c.difference, c.probability
        rows.append([
            c.board.title,
            f"{100 * d.value:+.2f}" if d else "-",
            _range(d),
            f"{p.value:.2f}" if p else "-",
            f"{p.low:.2f} to {p.high:.2f}" if p else "-",
            pairing(d) if d else f"{len(c.a.scores())} and {len(c.b.scores())}",
            c.verdict,
        ])  # fmt: skip
    whole = over_all(compared)
    if whole is not None:
        words = verdict(whole, compared[0].a.rule, compared[0].b.rule)
        mean = f"{100 * whole.value:+.2f}"
        rows.append(["mean of these", mean, _range(whole), "", "", "", words])
    return [[_printable(cell) for cell in row] for row in rows]


def _printable(text: str) -> str:
    """A label from a record must not steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _range(d: Difference | None) -> str:
    known = d is not None and d.low == d.low  # NaN is not itself
    return f"{100 * d.low:+.2f} to {100 * d.high:+.2f}" if d and known else "-"


def _markdown(compared: Sequence[Contrast]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"

    heading = f"{compared[0].a.rule} against {compared[0].b.rule}"
    ruler = ["---"] + ["---:"] * 4 + ["---"] * 2
    lines = [line(COLUMNS), line(ruler), *map(line, _cells(compared))]
    return f"{heading}\n\n" + "\n".join(lines) + f"\n\n{LEGEND}\n"


def _table(compared: Sequence[Contrast]) -> str:
    """One block per task on any width: what is said, then what it rests on."""
    from rich.console import Console
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(file=io.StringIO(), force_terminal=terminal, width=None if terminal else 100)
    name = f"{compared[0].a.rule} against {compared[0].b.rule}"
    lines: list[Text] = [Text(name, style="bold")]
    for task, diff, interval, p, p_interval, seeds, said in _cells(compared):
        lines.append(Text.assemble("\n", (task, "bold"), f": {said}"))
        lines.append(Text(f"  difference {diff} ({interval})"))
        if p:
            lines.append(Text(f"  P(better) {p} ({p_interval}); seeds: {seeds}"))
    lines.append(Text("\n" + LEGEND, style="dim"))
    with console.capture() as capture:
        for line in lines:
            console.print(line)
    return capture.get()


_FORMATS: dict[str, Callable[[Sequence[Contrast]], str]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
    "markdown": _markdown,
}
