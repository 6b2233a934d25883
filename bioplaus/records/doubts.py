"""What looks wrong in records that stand together, each a line for people; none is left out.

And what must not be averaged is told apart: records of one cell whose rules were not the
same source.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from bioplaus import tasks
from bioplaus.errors import BioplausError, shown
from bioplaus.records.consistency import is_whole, label_pairs, labelled
from bioplaus.records.keys import digest
from bioplaus.records.schema import Record
from bioplaus.tasks.task import read_task


def doubts(records: Sequence[Record]) -> list[str]:
    """One line for each thing that looks wrong; what is not whole is not judged."""
    cells: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if is_whole(record.configuration):
            cells[record.cell].append(record)
    found: list[str] = []
    for cell in cells.values():
        title = _title(cell[0])
        for kind in (_copies, _absent, _cards, _costs, _labels, _networks):
            found += [f"{title}: {line}" for line in kind(cell)]
    found += _renamed(record for cell in cells.values() for record in cell)
    return found


def source_of(record: Record) -> str | None:
    """The checksum of the rule's source that made a record, where it says."""
    rule = record.provenance.get("rule")
    checksum = rule.get("sha256") if isinstance(rule, Mapping) else None
    return checksum if isinstance(checksum, str) else None


def sources_apart(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """The records, those of other sources of their rule as cells of their own; and a line each.

    The source of most seeds of a cell keeps its name, of equals the first by checksum. The
    others' label says which they are. Records that name no source stay.
    """
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        if (source := source_of(record)) is not None:
            seen[record.cell][source] += 1
    mixed = {cell: min(count, key=lambda s: (-count[s], s))
             for cell, count in seen.items() if len(count) > 1}  # fmt: skip
    lines: dict[str, str] = {}

    def told_apart(record: Record) -> Record:
        source = source_of(record)
        if source in (None, mixed.get(record.cell, source)):
            return record
        lines.setdefault(
            record.cell,
            f"{_title(record)}: its seeds were made by {len(seen[record.cell])} sources of the "
            "rule, which are shown apart; run all of them again with --force",
        )
        label = f"{record.label}{_mark(source)}".strip()
        cell = digest({"cell": record.cell, "source": source})
        return record.model_copy(update={"cell": cell, "label": label})

    return ([told_apart(r) for r in records] if mixed else list(records)), list(lines.values())


def as_stored(record: Record) -> Record:
    """A record as its file has it: in the cell of its configuration, whatever its source."""
    source, own = source_of(record), digest(record.configuration)
    if source is None or record.cell != digest({"cell": own, "source": source}):
        return record
    label = f" {record.label}".removesuffix(_mark(source)).strip()
    return record.model_copy(update={"cell": own, "label": label})


def _mark(source: str | None) -> str:
    return f" source={str(source)[:8]}"


def _title(record: Record) -> str:
    return shown(f"{record.rule} on {record.task} {record.label}".rstrip())


def _copies(cell: Sequence[Record]) -> Iterator[str]:
    """Two seeds begin with other weights: no two of their curves are the same."""
    same: dict[object, list[int]] = defaultdict(list)
    for record in cell:
        if (curves := _curves(record)) is not None:
            same[curves].append(record.seed)
    for seeds in same.values():
        if len(seeds) > 1:
            yield f"seeds {_listed(seeds)} have the same curves to the last bit: copies of one"


def _curves(record: Record) -> object | None:
    """What no two trainings have in common; None where there is too little to say so."""
    losses = tuple(record.curves.metrics.get("loss", ()))
    known = {value for value in losses if value is not None}
    return (losses, tuple(record.curves.test_accuracy)) if len(known) > 1 else None


def _renamed(records: Iterable[Record]) -> Iterator[str]:
    """A class has one name, so no two rules come from the same."""
    names: dict[str, set[str]] = defaultdict(set)
    for record in records:
        origin = record.provenance.get("rule")
        if isinstance(origin, Mapping) and isinstance(origin.get("target"), str):
            names[origin["target"]].add(record.rule)
    for target, found in names.items():
        if len(found) > 1:
            yield f"{' and '.join(sorted(found))} were made by one rule, {shown(target)}"


def _absent(cell: Sequence[Record]) -> Iterator[str]:
    there = {record.seed for record in cell}
    together = {seed for r in cell for seed in r.provenance.get("seeds_together") or ()}
    if missing := sorted(together - there):
        yield f"seeds {_listed(missing)} trained with these, and have no record here"


def _cards(cell: Sequence[Record]) -> Iterator[str]:
    cards: dict[str | None, list[Record]] = defaultdict(list)
    for record in cell:
        if record.card is not None:
            cards[source_of(record)].append(record)
    for records in cards.values():
        first = records[0].card
        other = [r.seed for r in records if r.card is not first and r.card != first]
        if other:
            yield (
                f"the card of seeds {_listed(other)} is not that of seed {records[0].seed}, by "
                "the same source of the rule"
            )


def _costs(cell: Sequence[Record]) -> Iterator[str]:
    """What trained together took the same time, and the same operations."""
    groups: dict[object, list[Record]] = defaultdict(list)
    for record in cell:
        origin = record.provenance
        together = origin.get("seeds_together")
        if isinstance(together, list):
            place = (origin.get("device"), origin.get("execution"), str(origin.get("packages")))
            groups[(tuple(together), *place, source_of(record))].append(record)
    for records in groups.values():
        for what, facts in (("times", _times), ("costs", _operations)):
            other = [r.seed for r in records if facts(r) != facts(records[0])]
            if other:
                yield (
                    f"seeds {_listed(other)} state other {what} than seed {records[0].seed}, "
                    "which trained with them: trained again, or edited"
                )


def _times(record: Record) -> object:
    timing = record.timing
    return timing.group_train_seconds, timing.group_evaluation_seconds, timing.group_size


def _operations(record: Record) -> object:
    cost = record.cost
    return cost and (cost.forward_equivalents, cost.step_flops)


def _labels(cell: Sequence[Record]) -> Iterator[str]:
    if len({record.label for record in cell}) > 1:
        yield "one configuration has several labels"
    first = cell[0]
    pairs = label_pairs(first.label)
    rest = first.label
    for name, text in pairs.items():
        rest = rest.replace(f"{name}={text}", "", 1)
    unknown = [n for n in pairs if n != "file" and labelled(n, first.configuration) is None]
    unknown = [n for n in unknown if pairs[n] != "None" and n != "task.optimizer"]
    if rest.strip() or unknown:
        what = ", ".join(unknown) or shown(rest.strip())
        yield f"the label says what the configuration does not: {what}"


def _networks(cell: Sequence[Record]) -> Iterator[str]:
    """What a built-in task's name stands for, its network above all, no setting can change."""
    first = cell[0]
    content = first.configuration.get("task")
    known = _builtin(first.task)
    if not known or not isinstance(content, Mapping):
        return
    named = {n.removeprefix("task.") for n in label_pairs(first.label)}
    fields = [f for f in ("dataset", "network", "loss") if content.get(f) != known.get(f)]
    fields = [f for f in fields if f == "network" or f not in named]
    if fields:
        yield f"its {' and '.join(fields)} are not those of the task {first.task}"


@cache
def _builtin(name: str) -> Mapping[str, Any]:
    """A built-in task's content; {} for another name."""
    if name not in tasks.names() or tasks.source(name) != "built-in":
        return {}
    try:
        return read_task(name).content()
    except BioplausError:
        return {}


def _listed(seeds: Iterable[int]) -> str:
    ordered = sorted(seeds)
    more = f" and {len(ordered) - 10} more" if len(ordered) > 10 else ""
    return ", ".join(map(str, ordered[:10])) + more
