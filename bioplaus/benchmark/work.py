"""The work of a benchmark: steps that tune and train what is missing, and keep what comes out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bioplaus.benchmark.jobs import CellJob
from bioplaus.benchmark.plan import Entry, Place
from bioplaus.benchmark.steps import JobStep, Work
from bioplaus.benchmark.tuning import choose, tune, tuning_record
from bioplaus.errors import BioplausError, ConfigError, PluginError, RecordError
from bioplaus.plugins import registry
from bioplaus.records.keys import seed_key
from bioplaus.records.reading import NewerError
from bioplaus.records.schema import FailureRecord, Record, ResultSet, Tuning
from bioplaus.running.edited_rules import agrees, refuse_edited
from bioplaus.running.seed_records import SeedRecords
from bioplaus.running.taking_turns import claimed
from bioplaus.system.device import provenance
from bioplaus.system.secrets import redacted
from bioplaus.training.checkpoint import remove_checkpoints
from bioplaus.training.groups import evenly


@dataclass
class Done:
    """What became of a benchmark."""

    records: list[Record] = field(default_factory=list)
    reused: int = 0
    failures: list[FailureRecord] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """What was not run because a newer bioplaus wrote what is there, one line each."""

    def of(self, found: ResultSet) -> ResultSet:
        """What of a folder's content this benchmark is about."""
        cells = {r.cell for r in self.records} | {f.cell for f in self.failures}
        # by key: a record's cell may be told from another by the source of its rule
        seeds = {r.seed for r in found.records}
        keys = {seed_key(cell, seed) for cell in cells for seed in seeds}
        return ResultSet(
            [r for r in found.records if r.key in keys],
            [t for t in found.tunings if t.cell in cells],
            found.damaged,
            [f for f in found.failures if f.cell in cells],
            found.doubts,
        )


def work(entry: Entry, place: Place, done: Done) -> Work:
    """All that an entry takes: yields steps to run, and is resumed when they have run.

    Says `Later` where another process is at work on it. What a newer bioplaus wrote stays.
    """
    try:
        yield from _work(entry, place, done)
    except NewerError as error:
        done.refused.append(f"{entry.title}: {error}")


def _work(entry: Entry, place: Place, done: Done) -> Work:
    chosen = entry.chosen(place.store)
    if chosen is None:
        found: list[Tuning] = []
        try:
            yield from tuned(entry, place, found)
        except RecordError:
            raise  # what cannot be kept need not be trained
        except BioplausError as error:
            _fail(entry.cell(place.store, {}), entry.seeds, str(error), place, done, entry.seeds)
            return
        chosen = found[0].chosen
        _forget_failure(entry.cell(place.store, {}), entry.seeds)
    yield from _train(entry.cell(place.store, chosen), entry.seeds, place, done)


def tuned(entry: Entry, place: Place, found: list[Tuning]) -> Work:
    """The tuning of an entry, written when it is done and put into `found`.

    Where it is there already, that one.
    """
    plan = entry.tuning
    if plan is None:
        raise ConfigError(f"{entry.title} is not to be tuned")
    store = place.store
    before = entry.tuned_before(store)
    if before is not None:
        found.append(before)
        return
    store.check_writable()
    claim = store.tuning_claim(entry.task.name, entry.rule, plan.key)
    with (yield from claimed(claim, store.claims, f"the tuning of {entry.title}")):
        tuning = entry.tuned_before(store)
        if tuning is None:
            folder = store.checkpoints_of_tuning(entry.task.name, entry.rule, plan.key)
            study = place.study(plan)
            trials = yield from tune(plan, study, place.device, folder)
            cell = entry.cell(store, choose(trials, plan.metric).settings)
            tuning = store.publish(
                tuning_record(plan, trials, cell.digest, place.device, study.losses())
            )
            _remove(folder)
    found.append(tuning)


def _remove(folder: Path) -> None:
    """The checkpoints of a tuning that is done; what else lies in their folder stays."""
    remove_checkpoints(folder)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _train(cell: SeedRecords, seeds: Sequence[int], place: Place, done: Done) -> Work:
    """The records of a cell: those that are there, and the rest from jobs.

    A failure that another process met meanwhile is not tried again.
    """
    try:
        refuse_edited(cell)
    except PluginError as error:
        done.refused.append(str(error))
        return
    claims = cell.store.claims
    if missing := cell.missing(seeds, False, False):
        before = _failure(cell)
        cell.store.check_writable()
        with (yield from claimed(cell.claim, claims, cell.title)):
            failure = _failure(cell)
            if failure is not None and failure != before and set(missing) <= set(failure.seeds):
                done.failures.append(failure)
            else:
                yield from _train_claimed(cell, seeds, place, done)
    else:
        claims.tidy(cell.claim)
        _reuse(cell, seeds, done)


def _reuse(cell: SeedRecords, seeds: Sequence[int], done: Done) -> list[Record]:
    there = [cell.read(seed) for seed in sorted(seeds)]
    done.records += there
    done.reused += len(there)
    return there


def _train_claimed(cell: SeedRecords, seeds: Sequence[int], place: Place, done: Done) -> Work:
    missing = cell.missing(seeds, False, False)
    there = _reuse(cell, sorted(set(seeds) - set(missing)), done)
    failed: dict[int, str] = {}  # seed -> why

    def step(group: tuple[int, ...], wanted: frozenset[int]) -> JobStep:
        def keep(records: list[Record]) -> None:
            now = registry.find("rule", cell.experiment.rule.name).origin()
            if not all(agrees(record, now) for record in records):
                fail(
                    f"the code of {cell.experiment.rule.name} was changed while it trained, or "
                    "is another where it trained: its version is the same; start again"
                )
                return
            for record in records:
                if record.seed in wanted:
                    done.records.append(place.store.publish(record))

        def fail(reason: str) -> None:
            failed.update(dict.fromkeys(wanted, reason))

        return JobStep(CellJob(cell.experiment, group, place.device, cell.folder), keep, fail)

    groups = seed_groups(seeds, missing, there, place.together(cell.experiment))
    if groups:
        yield [step(group, wanted) for group, wanted in groups]
    if failed:
        reasons = dict.fromkeys(failed[seed] for seed in sorted(failed))
        _fail(cell, sorted(failed), "; ".join(reasons), place, done, seeds)
    else:
        _forget_failure(cell, seeds)
    if all(cell.has(s, False) for s in missing):
        remove_checkpoints(cell.folder)


def _failure(cell: SeedRecords) -> FailureRecord | None:
    """Why the cell failed, if it did, as its file says."""
    there = cell.store.standing(cell.failure_path)
    return there if isinstance(there, FailureRecord) else None


def _forget_failure(cell: SeedRecords, seeds: Sequence[int]) -> None:
    """Seeds that have succeeded have not failed."""
    before = _failure(cell)  # what a newer bioplaus wrote is not removed
    rest = sorted(set(before.seeds) - set(seeds)) if before else []
    if before is None or not rest:
        cell.failure_path.unlink(missing_ok=True)
    else:
        cell.store.write(before.model_copy(update={"seeds": rest}))


def seed_groups(
    seeds: Sequence[int], missing: Iterable[int], there: Iterable[Record], most: int
) -> list[tuple[tuple[int, ...], frozenset[int]]]:
    """Which seeds to train together, at most so many, and which of them to keep.

    A seed whose group was being written when a run was killed trains with the same group
    again, so that its record is the same to the last bit; and the groups of the others are
    those of all the seeds, whichever are done.
    """
    left = set(missing)
    groups = []
    for record in there:
        together = record.provenance.get("seeds_together")
        again = left & set(together) if isinstance(together, list) else set()
        if again:
            groups.append((tuple(sorted(map(int, together or ()))), frozenset(again)))
            left -= again
    rest = (sorted(left.intersection(group)) for group in evenly(sorted(seeds), most))
    return [*groups, *((tuple(group), frozenset(group)) for group in rest if group)]


def _fail(
    cell: SeedRecords,
    seeds: Sequence[int],
    reason: str,
    place: Place,
    done: Done,
    tried: Sequence[int],
) -> None:
    """Keep why these seeds failed, of all that were tried, beside others that did."""
    experiment = cell.experiment
    before = _failure(cell)  # of other seeds, where each is tuned by itself
    lost = {*seeds, *(set(before.seeds) - set(tried) if before else ())}
    failure = FailureRecord(
        cell=cell.digest,
        task=experiment.task.name,
        rule=experiment.rule.name,
        label=experiment.label,
        seeds=sorted(lost),
        reason=redacted(reason, place.storage),
        configuration=cell.configuration,
        provenance=provenance(torch.device(place.device), 1, seeds),
    )
    place.store.write(failure)
    done.failures.append(failure)
