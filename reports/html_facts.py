"""The page's other tables: plausibility, published results, tunings, environments."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from bioplaus.analysis.boards import Board
from bioplaus.analysis.cells import SHARED
from bioplaus.errors import printable
from bioplaus.records.metric import ACCURACY, metric_of
from bioplaus.records.schema import Record, Tuning

from .cell_measures import MISSING
from .html_tables import Column, Line, Table, TableCell, count, scored, tuning_anchor
from .profiles import NEEDS_NOTHING, card_of, cards, profile


def tuning_table(tuning: Tuning) -> Table:
    """The trials of one tuning."""
    settings = sorted({name for t in tuning.trials for name in t.settings})
    metric = metric_of(tuning.configuration)
    lost = "a diverged one counts 0" if metric == ACCURACY else "without any that diverged"
    heading = "Validation (%)" if metric == ACCURACY else f"Validation {metric.heading}"
    columns = [Column("Trial"), *(Column(printable(name)) for name in settings),
               Column(heading, f"mean over seeds; {lost}"),
               Column("Status", number=False)]  # fmt: skip
    lines = []
    for trial in tuning.trials:
        values = [trial.settings.get(name) for name in settings]
        chosen = trial.status == "complete" and trial.settings == tuning.chosen
        lines.append(Line([
            TableCell(str(trial.number), trial.number),
            *(_setting(value) for value in values),
            scored(trial.validation_accuracy, metric),
            TableCell("chosen" if chosen else trial.status, note=printable(trial.reason)),
        ]))  # fmt: skip
    name = f"Trials of {tuning.rule} on {tuning.task}"
    return Table(f"{tuning_anchor(tuning)}-table", name, columns, lines)


def _setting(value: object) -> TableCell:
    if value is None:
        return TableCell("default")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return TableCell(f"{value:.4g}" if isinstance(value, float) else printable(str(value)),
                 sort=float(value) if number else None)  # type: ignore[arg-type]  # fmt: skip


WIDE = ("auxiliary", "note", "phases")
"""Fields of a profile that are sentences."""


def plausibility_table(boards: Sequence[Board]) -> Table | None:
    """What each rule asks of a brain: measured, or else as declared, and where the two differ."""
    known = {rule: card for rule, card in cards(boards).items() if card is not None}
    if not known:
        return None
    extra = (name for card in known.values() for name in sorted(card.plausibility))
    fields = [
        f for f in dict.fromkeys([*NEEDS_NOTHING, "phases", *extra])
        if any(card.plausibility.get(f) not in (None, "") for card in known.values())
    ]  # fmt: skip
    columns = [Column("Rule", number=False),
               *(Column(printable(f.replace("_", " ").capitalize()), number=False, wide=f in WIDE)
                 for f in fields)]  # fmt: skip
    lines = []
    for rule, card in known.items():
        at = {p.name: p for p in profile(rule, card).properties}
        entries = [TableCell(rule, note=printable(card.summary))]
        for f in fields:
            value = at[f].value if f in at else card.plausibility.get(f)
            text = MISSING if value in (None, "") else word(value)
            kind, note = "", ""
            if f in at and text != MISSING:
                kind = "yes" if at[f].asks_nothing else "no"
                if at[f].contradicted:
                    note = f"declared: {word(at[f].declared)}; measured: {word(at[f].measured)}"
                elif at[f].measured is not None:
                    note = f"tested: {word(at[f].measured)}"
            odd = f in at and at[f].contradicted
            entries.append(
                TableCell(text, note=note, kind=kind, badge="contradicted" if odd else "")
            )
        lines.append(Line(entries, id=f"plausibility--{rule}"))
    return Table("plausibility-table", "Plausibility profiles", columns, lines)


def word(value: object) -> str:
    """A value of a profile or of provenance in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{printable(str(k))} {word(v)}" for k, v in sorted(value.items()))
    return printable(str(value))


def published_rows(boards: Sequence[Board]) -> list[tuple[str, str, str, str, str]]:
    """(rule, metric, value, note, source) of every published number that the records carry."""
    found = set()
    for board in boards:
        for rule, cell in board.entries.items():
            card = card_of([cell])
            for p in card.published if card else []:
                value = f"{100 * p.value:.2f} %" if 0 <= p.value <= 1 else f"{p.value:g}"
                found.add(
                    (rule, printable(p.metric), value, printable(p.note), printable(p.source))
                )
    return sorted(found)


OWN = ("command", "seeds_together", "rule")
"""Provenance of one run or rule rather than of where it ran; a command may name folders."""


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
        (n, [(printable(k.replace("_", " ")), word(v)) for k, v in json.loads(text).items()])
        for text, n in found
    ]


def days(records: Sequence[Record]) -> str:
    """When they were made, as far as they say: `2026-11-24 to 2026-11-26`."""
    dated = [str(r.provenance["date"])[:10] for r in records if "date" in r.provenance]
    if not dated:
        return ""
    found = " to ".join(dict.fromkeys((min(dated), max(dated))))
    silent = len(records) - len(dated)
    return printable(found + (f", {silent} of them without a date" if silent else ""))


def rule_sources(records: Sequence[Record]) -> Table | None:
    """Which sources of which rule made how many records; None where no record says so."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for record in records:
        made = record.provenance.get("rule")
        if isinstance(made, dict):
            facts = (printable(str(made.get(k) or "unknown")) for k in ("source", "sha256"))
            counted[(record.rule, *facts)] += 1  # type: ignore[index]
    several = Counter(rule for rule, *_ in counted)
    lines = [
        Line([TableCell(rule, note="several sources: not averaged" if several[rule] > 1 else ""),
              TableCell(source), TableCell(sha[:16]), TableCell(str(n), n)])
        for (rule, source, sha), n in sorted(counted.items())
    ]  # fmt: skip
    columns = [Column("Rule", number=False), Column("From", number=False),
               Column("SHA-256", number=False), Column("Records")]  # fmt: skip
    return Table("sources-table", "Rule sources", columns, lines) if lines else None


def shared_conditions(board: Board) -> dict[str, object]:
    """What all cells of a board have in common, as their records say it."""
    c = board.cells[0].configuration
    return {"json": pretty({k: c[k] for k in SHARED if k in c}), "words": _conditions(c)}


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
    pruning = task.get("pruning") if isinstance(task, dict) else None
    if isinstance(pruning, dict) and pruning.get("kind") == "ticket":
        parts.append("the weights that stay are a ticket found with all training examples")
    start = f"Data set {task['dataset']}" if isinstance(task, dict) and "dataset" in task else ""
    return printable(": ".join(filter(None, (start, "; ".join(parts)))))


def pretty(content: object) -> str:
    """JSON to read."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=True)
