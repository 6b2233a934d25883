"""What a folder holds, run again: what trained together once, each file judged."""

from __future__ import annotations

import datetime
import glob
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from bioplaus.axes.verification import Remeasuring
from bioplaus.benchmark.verify_tuning import plan_of, verify_tuning
from bioplaus.errors import BioplausError, RecordError
from bioplaus.experiments.experiment import Experiment
from bioplaus.records.metric import metric_of
from bioplaus.records.reading import read_item
from bioplaus.records.schema import FailureRecord, Measurement, Record, Tuning
from bioplaus.records.store import Store
from bioplaus.records.verification import VerifiedFile, checksum_of
from bioplaus.running.verify import Reproduction, group_of, verify_together
from bioplaus.system.device import provenance, resolve_device
from bioplaus.training.progress import Progress

Result = Literal["to the last bit", "within the tolerance", "differs", "could not be run"]
Observer = Callable[[Experiment, Progress], None]

_MACHINE = ("bioplaus_git", "device", "device_type", "packages", "platform", "python", "threads")
_PATTERNS = ("seed-*.json", "tuning-*.json", "axis-*.json")


@dataclass(frozen=True)
class Rerun:
    """What became of one file."""

    path: Path
    root: Path
    """The results folder that it lies in."""
    key: str
    result: Result
    reasons: Sequence[str] = ()
    seeds: Sequence[int] = ()
    """What trained together this time; () for a tuning."""
    summary: str = ""
    """A few words on the result."""
    machine: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reproduces(self) -> bool:
        """Whether it ran and agreed."""
        return self.result in ("to the last bit", "within the tolerance")

    def entry(self) -> VerifiedFile:
        """For a verification."""
        now = datetime.datetime.now(datetime.UTC)
        return VerifiedFile(
            file=self.path.absolute().relative_to(self.root).as_posix(),
            sha256=checksum_of(self.path),
            key=self.key,
            result=self.result,
            reasons=list(self.reasons),
            seeds=list(self.seeds),
            date=now.isoformat(timespec="seconds"),
            machine=dict(self.machine),
        )


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The records and tunings that are named, each once: files, folders of them, or patterns.

    RecordError for a name behind which there is none.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if os.path.isdir(path):  # where Path raises for a name that is too long
            inside = sorted(file for pattern in _PATTERNS for file in path.rglob(pattern))
        elif not os.path.exists(path) and glob.has_magic(str(path)):
            # as a shell without globs leaves it
            inside = sorted(Path(name) for name in glob.glob(str(path)))
        else:
            inside = [path]
        if inside == [path] and not os.path.exists(path):
            raise RecordError(
                f"{path}: No such file or folder; `bioplaus report` shows what is in results/, and "
                "`bioplaus verify results` runs all of it again"
            )
        if not inside:
            raise RecordError(
                f"{path}: there is no record in it; name files TASK/RULE/CELL/seed-0000.json, "
                "tuning-*.json, or folders of them"
            )
        found |= dict.fromkeys(inside)
    return list(found)


def sampled(files: Sequence[Path], cells: int) -> list[Path]:
    """One file at random of each of so many configurations, drawn at random, in their order."""
    by_cell: dict[Path, list[Path]] = defaultdict(list)
    for file in [f for f in files if not f.name.startswith("axis-")] or files:
        by_cell[file if file.name.startswith("tuning-") else file.parent].append(file)
    chance = random.SystemRandom()  # nobody can know what will be drawn
    drawn = chance.sample(sorted(by_cell), min(cells, len(by_cell)))
    chosen = {chance.choice(by_cell[cell]) for cell in drawn}
    return [file for file in files if file in chosen]


def rerun(
    files: Sequence[Path],
    *,
    alone: bool = False,
    observe: Observer = lambda experiment, progress: None,
) -> Iterator[Rerun]:
    """Each file's outcome, in the order in which they were run; RecordError for no record.

    All are read before anything runs. What cannot be run here is an outcome, too.
    """
    tunings: list[tuple[Path, Tuning]] = []
    measured: list[tuple[Path, Measurement]] = []
    groups: dict[object, list[tuple[Path, Record]]] = defaultdict(list)
    for path in files:
        item = read_item(path)
        match item:
            case Record():
                how = [item.provenance.get(n) for n in ("device_type", "threads", "execution")]
                groups[(item.cell, group_of(item), *map(str, how))].append((path, item))
            case Tuning():
                tunings.append((path, item))
            case Measurement():
                measured.append((path, item))
            case FailureRecord():
                raise RecordError(f"{path}: a failure has no result to compare")
    for group in groups.values():
        yield from _records(group, alone, observe)
    for path, tuning in tunings:
        yield _tuning(path, tuning, observe)
    remeasuring = Remeasuring()
    for path, measurement in measured:
        yield _measurement(path, measurement, remeasuring)


def _records(
    group: Sequence[tuple[Path, Record]], alone: bool, observe: Observer
) -> Iterator[Rerun]:
    records = [record for _, record in group]
    try:
        outcomes = verify_together(records, alone=alone, observe=observe)
    except BioplausError as error:
        for path, record in group:
            yield Rerun(path, root_of(path, record), record.key, "could not be run", [str(error)])
        return
    for (path, record), outcome in zip(group, outcomes, strict=True):
        again = outcome.again
        metric = metric_of(again.configuration)
        score = metric.score(again)
        yield Rerun(
            path,
            root_of(path, record),
            record.key,
            _result(outcome),
            outcome.reasons,
            group_of(again),
            "" if score is None else f"test {metric.words} {metric.text(score)}",
            {name: again.provenance.get(name) for name in _MACHINE},
        )


def _result(outcome: Reproduction) -> Result:
    if not outcome.reproduces:
        return "differs"
    return "to the last bit" if outcome.exact else "within the tolerance"


def _tuning(path: Path, tuning: Tuning, observe: Observer) -> Rerun:
    root = root_of(path, tuning)
    try:
        experiment = plan_of(tuning)[0].default
        again = verify_tuning(tuning, watch=lambda progress: observe(experiment, progress))
    except BioplausError as error:
        return Rerun(path, root, tuning.key, "could not be run", [str(error)])
    here = provenance(resolve_device("auto"), torch.get_num_threads(), ())
    result: Result = "within the tolerance" if again.reproduces else "differs"
    if again.trials == tuning.trials:
        result = "to the last bit"
    return Rerun(
        path, root, tuning.key, result, again.reasons,
        summary=f"{len(again.trials)} trials",
        machine={name: here.get(name) for name in _MACHINE},
    )  # fmt: skip


def _measurement(path: Path, item: Measurement, remeasuring: Remeasuring) -> Rerun:
    root = root_of(path, item)
    try:
        again = remeasuring.verify(path.absolute(), item)
    except BioplausError as error:
        return Rerun(path, root, item.key, "could not be run", [str(error)])
    result: Result = "within the tolerance" if again.reproduces else "differs"
    return Rerun(
        path, root, item.key, "to the last bit" if again.exact else result, again.reasons,
        (item.seed,), f"{item.axis} of {item.rule}",
        {name: again.machine.get(name) for name in _MACHINE},
    )  # fmt: skip


def root_of(path: Path, item: Record | Tuning | Measurement) -> Path:
    """The results folder that a file lies in, or just its folder where it is out of place."""
    depth = 2 if isinstance(item, Tuning) else 3
    whole = path.absolute()
    root = whole.parents[depth] if len(whole.parents) > depth else whole.parent
    return root if Store(root).place(item) == whole else whole.parent
