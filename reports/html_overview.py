"""The page's other tables: rules by tasks, plausibility, tunings, environments."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from bioplaus.analysis.aggregate import Aggregate
from bioplaus.analysis.boards import Board, Cell
from bioplaus.records.schema import Record, RuleCard, Tuning

from .cell_measures import MISSING, plain
from .html_tables import (
    Column,
    Line,
    Table,
    TableCell,
    accuracy,
    count,
    percent,
    places,
    tuning_anchor,
)
from .leaderboard import card_of, seeds_entry


def overview_table(boards: Sequence[Board], found: Aggregate | None) -> Table:
    """Rules by tasks; over all tasks where there is an aggregate."""
    overall = {o.rule: o for o in found.rules} if found else {}
    rules = sorted({rule for b in boards for rule in b.entries})
    rules.sort(key=lambda r: list(overall).index(r) if r in overall else len(overall))
    columns = [Column("Rule", number=False)]
    if found:
        columns += [
            Column("Rank", "by mean accuracy over the tasks of the aggregate, as a tie group"),
            Column("IQM (%)", "interquartile mean of all runs on these tasks, 95 % interval"),
            Column("Mean rank", "over these tasks; a tie group shares its middle place"),
        ]
    columns += [Column(plain(b.title), "mean test accuracy in percent") for b in boards]
    lines = []
    for rule in rules:
        entries = [TableCell(rule)]
        if found:
            o = overall.get(rule)
            iqm = accuracy(o.interquartile_mean, (0, 1)) if o else TableCell(MISSING)
            entries += [
                places(o.first, o.last, o.group) if o else TableCell(MISSING),
                TableCell(iqm.text, iqm.sort, iqm.note),
                TableCell(f"{o.mean_rank:.2f}", o.mean_rank) if o else TableCell(MISSING),
            ]
        entries += [_on(board, rule) for board in boards]
        lines.append(Line(entries, quiet=bool(found) and rule not in overall))
    return Table("overview-table", "Rules by tasks", columns, lines)


def _on(board: Board, rule: str) -> TableCell:
    """A rule's accuracy on a board, marked where it is in the first tie group."""
    cell = board.entries.get(rule)
    if cell is None or cell.estimate is None:
        return TableCell(MISSING)
    best = any(s.group == 1 and s.cell is cell for s in board.standings)
    note = "" if board.complete(cell) else seeds_entry(board, cell).text
    value = cell.estimate.value
    return TableCell(f"{100 * value:.2f}", value, note, kind="best" if best else "")


def tuning_table(tuning: Tuning) -> Table:
    """The trials of one tuning."""
    settings = sorted({name for t in tuning.trials for name in t.settings})
    columns = [Column("Trial"), *(Column(plain(name)) for name in settings),
               Column("Validation (%)", "mean over seeds; a diverged one counts 0"),
               Column("Status", number=False)]  # fmt: skip
    lines = []
    for trial in tuning.trials:
        values = [trial.settings.get(name) for name in settings]
        chosen = trial.status == "complete" and trial.settings == tuning.chosen
        lines.append(Line([
            TableCell(str(trial.number), trial.number),
            *(_setting(value) for value in values),
            percent(trial.validation_accuracy),
            TableCell("chosen" if chosen else trial.status, note=plain(trial.reason)),
        ]))  # fmt: skip
    name = f"Trials of {tuning.rule} on {tuning.task}"
    return Table(f"{tuning_anchor(tuning)}-table", name, columns, lines)


def _setting(value: object) -> TableCell:
    if value is None:
        return TableCell("default")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return TableCell(f"{value:.4g}" if isinstance(value, float) else plain(str(value)),
                 sort=float(value) if number else None)  # type: ignore[arg-type]  # fmt: skip


NEEDS_NOTHING: dict[str, tuple[object, ...]] = {
    "weight_transport": ("none",),
    "update_locking": (False,),
    "backward_locking": (False,),
    "local": (True,),
    "needs_derivative": ("no", "local"),
    "signed_errors": ("none", "activity difference"),
    "auxiliary": ("none", "", None),
}
"""Values of a profile that ask for nothing beyond what neurons are known to do."""


WIDE = ("auxiliary", "note", "phases")
"""Fields of a profile that are sentences."""


def plausibility_table(boards: Sequence[Board]) -> Table | None:
    """What each rule declares of itself, and beneath it what was measured of that."""
    cells = {rule: [b.entries[rule] for b in boards if rule in b.entries]
             for rule in sorted({rule for b in boards for rule in b.entries})}  # fmt: skip
    cards = {rule: card for rule, found in cells.items() if (card := card_of(found)) is not None}
    extra = (name for card in cards.values() for name in sorted(card.plausibility))
    fields = [
        f for f in dict.fromkeys([*NEEDS_NOTHING, "phases", *extra])
        if any(card.plausibility.get(f) not in (None, "") for card in cards.values())
    ]  # fmt: skip
    if not cards:
        return None
    columns = [Column("Rule", number=False),
               *(Column(plain(f.replace("_", " ").capitalize()), number=False, wide=f in WIDE)
                 for f in fields), Column("Source", number=False, wide=True)]  # fmt: skip
    lines = []
    for rule, card in cards.items():
        entries = [TableCell(rule, title=plain(card.summary))]
        for f in fields:
            value, tested = card.plausibility.get(f), card.tested.get(f)
            text = MISSING if value in (None, "") else _word(value)
            kind = ("yes" if value in NEEDS_NOTHING[f] else "no") if f in NEEDS_NOTHING else ""
            note = "" if tested is None else f"tested: {_word(tested)}"
            entries.append(TableCell(text, note=note, kind=kind if text != MISSING else ""))
        lines.append(Line([*entries, TableCell(_source(card))]))
    return Table("plausibility-table", "Plausibility profiles", columns, lines)


def _source(card: RuleCard) -> str:
    """The citation in words."""
    c = card.citation
    where = ", ".join(str(c[k]) for k in ("venue", "identifier") if c.get(k))
    text = f"{c.get('authors', '')} ({c.get('year', '')}). {c.get('title', '')}. {where}"
    return plain(text.strip()) if c else MISSING


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{plain(str(k))} {_word(v)}" for k, v in sorted(value.items()))
    return plain(str(value))


def published_rows(boards: Sequence[Board]) -> list[tuple[str, str, str, str, str]]:
    """(rule, metric, value, note, source) of every published number that the records carry."""
    found = set()
    for board in boards:
        for rule, cell in board.entries.items():
            card = card_of([cell])
            for p in card.published if card else []:
                value = f"{100 * p.value:.2f} %" if 0 <= p.value <= 1 else f"{p.value:g}"
                found.add((rule, plain(p.metric), value, plain(p.note), plain(p.source)))
    return sorted(found)


OWN = ("command", "seeds_together")
"""Provenance of one run rather than of where it ran; a command may name private folders."""


def environments(records: Sequence[Record]) -> list[tuple[int, list[tuple[str, str]]]]:
    """(records, facts) for each environment that records were made in, the commonest first."""
    written: Counter[bytes] = Counter()
    for record in records:
        facts = {k: v for k, v in record.provenance.items() if k not in OWN}
        written[to_json(facts, inf_nan_mode="constants")] += 1
    counted: Counter[str] = Counter()
    for content, n in written.items():
        counted[json.dumps(json.loads(content), sort_keys=True)] += n
    found = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [
        (n, [(plain(k.replace("_", " ")), _word(v)) for k, v in json.loads(text).items()])
        for text, n in found
    ]


def shared_conditions(board: Board) -> dict[str, object]:
    """What all cells of a board have in common, as their records say it."""
    c = board.cells[0].configuration
    names = ("task", "data", "epochs", "precision")
    return {"json": pretty({k: c[k] for k in names if k in c}), "words": _conditions(c)}


def _conditions(c: dict[str, Any]) -> str:
    task, data = c.get("task"), c.get("data")
    sizes = data.get("sizes") if isinstance(data, dict) else None
    examples = sizes if isinstance(sizes, dict) else {}
    named = {"train": "training", "validation": "validation", "test": "test"}
    known = [f"{examples[k]:,} {name}" for k, name in named.items()
             if isinstance(examples.get(k), int) and examples[k]]  # fmt: skip
    parts = [f"{', '.join(known)} examples"] if known else []
    if isinstance(task, dict) and "batch_size" in task:
        parts.append(f"batches of {task['batch_size']}")
    if isinstance(c.get("epochs"), int):
        parts.append(count(c["epochs"], "epoch"))
    start = f"Data set {task['dataset']}" if isinstance(task, dict) and "dataset" in task else ""
    return plain(": ".join(filter(None, (start, "; ".join(parts)))))


def configurations(board: Board) -> list[tuple[Cell, str]]:
    """Each cell with what its records' keys cover beyond what the board shares."""
    shared = ("task", "data", "epochs", "precision")
    return [
        (cell, pretty({k: v for k, v in cell.configuration.items() if k not in shared}))
        for cell in board.cells
    ]


def pretty(content: object) -> str:
    """JSON to read."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=True)
