"""Records gathered: all seeds of one rule under one configuration on one task.

A score, mostly the accuracy, means one thing everywhere: that of the seeds that lived. The
share that diverged stands beside it, always. Records that different sources of a rule made are
never averaged, though the rule calls itself the same version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from bioplaus.analysis.statistics import Estimate, mean_interval
from bioplaus.records.keys import digest
from bioplaus.records.metric import Metric, Part, metric_of
from bioplaus.records.schema import Record, ResultSet, Tuning, TuningBudget

SHARED = ("task", "data", "epochs", "precision")
"""What of their configurations the cells of a board have in common."""

Origin = Literal["tuned", "defaults", "set by hand"]


@dataclass(frozen=True)
class Cell:
    """All seeds of one rule under one configuration on one task."""

    task: str
    rule: str
    label: str
    digest: str
    records: tuple[Record, ...]
    """One for each seed, sorted by it."""
    tuning: Tuning | None = None
    """How its configuration was chosen, where it was tuned."""
    source: str | None = None
    """Checksum of the rule's source, as its records have it."""
    reproduced: tuple[str, ...] = ()
    """How well, and when, for each of its records that somebody ran again and got."""

    @property
    def name(self) -> str:
        """The rule and what differs from its defaults."""
        return f"{self.rule} {self.label}".strip()

    @property
    def configuration(self) -> dict[str, Any]:
        """What its records' keys cover; of the first, where every seed was tuned by itself."""
        return self.records[0].configuration

    @property
    def parts(self) -> dict[str, list[Record]]:
        """Its records by the digest of their configuration: one part, unless tuned by seed."""
        found: dict[str, list[Record]] = defaultdict(list)
        for record in self.records:
            found[record.cell].append(record)
        return dict(found)

    @cached_property
    def metric(self) -> Metric:
        """What its task is judged by."""
        return metric_of(self.configuration)

    def scores(self, part: Part = "test") -> dict[int, float]:
        """The metric by seed, accuracy as a fraction, of the seeds that lived and have one."""
        return {
            r.seed: value
            for r in self.records
            if r.status != "diverged" and (value := self.metric.score(r, part)) is not None
        }

    def merits(self) -> list[float]:
        """The scores with a sign by which more is better."""
        return [self.metric.merit(value) for value in self.scores().values()]

    @cached_property
    def estimate(self) -> Estimate | None:
        """Mean test score of the seeds that lived, its interval in bounds; None without any."""
        scores, bounds = self.scores(), (self.metric.least, self.metric.most)
        return mean_interval(list(scores.values())).within(*bounds) if scores else None

    @property
    def diverged(self) -> list[int]:
        """The seeds that diverged."""
        return [r.seed for r in self.records if r.status == "diverged"]

    @property
    def diverged_share(self) -> float:
        """The share of its seeds that diverged."""
        return len(self.diverged) / len(self.records)

    @property
    def expected(self) -> float:
        """What a new seed can be expected to reach, nothing where it diverges: more is better.

        Orders rows, so that who loses seeds is not above who keeps them; shown nowhere.
        """
        lived = len(self.scores())
        if not self.estimate:
            return self.metric.merit(self.metric.worst)
        return self.metric.expected(self.estimate.value, lived / (lived + len(self.diverged)))

    @cached_property
    def absent(self) -> list[int]:
        """Seeds that trained with these, but have no record or no result here."""
        launched = {r.seed for r in self.records}
        if self.budget is not None and self.budget.each_seed:
            return sorted(launched - self.scores().keys() - set(self.diverged))
        for record in self.records:
            together = record.provenance.get("seeds_together")
            if isinstance(together, list):
                launched.update(s for s in together if isinstance(s, int))
        return sorted(launched - self.scores().keys() - set(self.diverged))

    @cached_property
    def copies(self) -> list[list[int]]:
        """Seeds that learned alike to the last bit, which chance does not do: copies of one."""
        alike: dict[object, list[int]] = defaultdict(list)
        for record in self.records:
            found = fingerprint(record)
            if found is not None:
                alike[found].append(record.seed)
        return [seeds for seeds in alike.values() if len(seeds) > 1]

    @property
    def own_label(self) -> str:
        """The label without what the whole board has in common."""
        parts = self.label.split(" ")
        return " ".join(p for p in parts if not p.startswith(("epochs=", "precision=", "task.")))

    @property
    def short_name(self) -> str:
        """The rule and what differs from its defaults, where the board is known."""
        return f"{self.rule} {self.own_label}".strip()

    @property
    def origin(self) -> Origin:
        """Who chose its settings."""
        if self.tuning is not None:
            return "tuned"
        return "set by hand" if self.own_label else "defaults"

    @property
    def budget(self) -> TuningBudget | None:
        """What its settings were chosen with; None where they were not tuned."""
        return self.tuning.budget if self.tuning else None

    @property
    def test_examples(self) -> int | None:
        """How many examples its test accuracy is over; None where the records do not say."""
        data = self.configuration.get("data")
        sizes = data.get("sizes") if isinstance(data, dict) else None
        size = sizes.get("test") if isinstance(sizes, dict) else None
        return size if isinstance(size, int) and size > 0 else None

    @property
    def why_not_ranked(self) -> str:
        """What keeps it from having a place; "" for nothing."""
        if self.copies:
            return f"seeds {', '.join(map(str, self.copies[0]))} are copies of one: not ranked"
        if self.absent:
            return f"incomplete, without seed {', '.join(map(str, self.absent))}: not ranked"
        if len(self.scores()) < 2:
            few = "fewer than two seeds"
            return f"{few} lived: not ranked" if self.diverged else f"{few}: not ranked"
        return ""


_Key = tuple[str, str, str, str]
"""Task, rule, cell, and source of the rule."""


def cells(results: ResultSet) -> list[Cell]:
    """Records gathered by configuration and source, one cell for each budget that chose it.

    Where every seed has a tuning of its own, the seeds of a rule are one cell, though their
    settings differ: what is repeated is the search and the training.
    """
    tunings: dict[tuple[str, str, str], dict[TuningBudget, Tuning]] = defaultdict(dict)
    for tuning in sorted(results.tunings, key=lambda t: t.key):
        if not tuning.budget.each_seed:
            own = tunings[tuning.task, tuning.rule, tuning.cell]
            own.setdefault(tuning.budget, tuning)
    by_cell: dict[_Key, dict[int, Record]] = defaultdict(dict)
    for record in results.records:
        seeds = by_cell[record.task, record.rule, record.cell, _source(record) or ""]
        kept = seeds.get(record.seed)
        if kept is None or kept.to_json() > record.to_json():
            seeds[record.seed] = record
    for key, (tuning, seeds) in _tuned_each(results.tunings, by_cell).items():
        by_cell[key], tunings[key[:3]] = seeds, {tuning.budget: tuning}
    again = results.reproduced
    return [
        Cell(task, rule, _label(seeds.values()), cell,
             tuple(seeds[s] for s in sorted(seeds)), tuning, source or None,
             tuple(again[r.key] for r in seeds.values() if r.key in again))
        for (task, rule, cell, source), seeds in sorted(by_cell.items())
        for tuning in tunings.get((task, rule, cell), {}).values() or [None]
    ]  # fmt: skip


def _tuned_each(
    tunings: Sequence[Tuning], by_cell: dict[_Key, dict[int, Record]]
) -> dict[_Key, tuple[Tuning, dict[int, Record]]]:
    """Cells of seeds that were tuned one by one; what these leave nothing of is taken out.

    By what they have in common: rule, source, budget, and what a board shares.
    """
    found: dict[_Key, tuple[Tuning, dict[int, Record]]] = {}
    taken: dict[_Key, set[int]] = defaultdict(set)
    for tuning in sorted(tunings, key=lambda t: t.key):
        seed = tuning.configuration.get("study")
        if not tuning.budget.each_seed or not isinstance(seed, int):
            continue
        for key in [k for k in by_cell if k[:3] == (tuning.task, tuning.rule, tuning.cell)]:
            record = by_cell[key].get(seed)
            if record is not None:
                # all that its search had in common with the others': what was set by hand, too
                search = {k: v for k, v in tuning.configuration.items() if k != "study"}
                common = {"search": search, **shared_part(record.configuration)}
                pooled = (tuning.task, tuning.rule, digest(common), key[3])
                found.setdefault(pooled, (tuning, {}))[1][seed] = record
                taken[key].add(seed)
    chosen = {(t.task, t.rule, t.cell) for t in tunings if not t.budget.each_seed}
    for key, seeds in taken.items():
        if seeds == by_cell[key].keys() and key[:3] not in chosen:
            del by_cell[key]
    return found


def _label(records: Collection[Record]) -> str:
    """What differs from the defaults, in all of them."""
    labels = {r.label for r in records}
    if len({r.cell for r in records}) == 1:
        return min(labels)
    first, *others = (label.split() for label in sorted(labels))
    return " ".join(part for part in first if all(part in other for other in others))


def fingerprint(record: Record) -> tuple[float | None, ...] | None:
    """How it learned, for telling copies; None where too little happened to tell by."""
    loss = tuple(record.curves.metrics.get("loss", ()))
    return loss if len({v for v in loss if v is not None}) > 1 else None


def sort_key(cell: Cell) -> tuple[str, str, str, str]:
    """An order of cells that does not depend on results."""
    return cell.rule, cell.label, cell.digest, cell.source or ""


def shared_part(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration has in common with the others of its board."""
    return {k: configuration.get(k) for k in SHARED}


def mean_validation(group: Sequence[float]) -> float:
    """The mean; below everything without any."""
    return sum(group) / len(group) if group else float("-inf")


def _source(record: Record) -> str | None:
    rule = record.provenance.get("rule")
    found = rule.get("sha256") if isinstance(rule, dict) else None
    return found if isinstance(found, str) else None
