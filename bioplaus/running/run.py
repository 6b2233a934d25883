"""Running experiments: train what is missing, keep a record of every seed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from bioplaus.errors import BioplausError, PluginError, RecordError
from bioplaus.experiments.experiment import Experiment
from bioplaus.records.reading import NewerError
from bioplaus.records.schema import Record
from bioplaus.records.store import NotWritable, Store
from bioplaus.running.edited_rules import refuse_edited
from bioplaus.running.seed_records import SeedRecords
from bioplaus.running.taking_turns import in_turn, waiting_line
from bioplaus.system.claims import Holder
from bioplaus.system.device import use_precision
from bioplaus.tasks.task import TaskData
from bioplaus.training.checkpoint import remove_checkpoints
from bioplaus.training.execution import Execution
from bioplaus.training.groups import Observer, train_groups
from bioplaus.training.trainer import Trainer


@dataclass
class Results:
    """What `run_experiments` gives back."""

    records: list[Record] = field(default_factory=list)
    reused: int = 0
    """How many of the records were there already."""
    problems: list[str] = field(default_factory=list)
    """What went wrong without stopping the rest, one line each."""
    notes: list[str] = field(default_factory=list)
    """What ran otherwise than asked for, without a change of results, one line each."""


def run_experiments(
    experiments: Iterable[Experiment],
    seeds: Sequence[int],
    store: Store,
    *,
    execution: Execution,
    force: bool = False,
    save_weights: bool = False,
    observe: Observer = lambda experiment, progress: None,
    tell: Callable[[str], None] = lambda line: None,
) -> Results:
    """Train what is not there yet and keep a record of each seed.

    The seeds of an experiment train together, in groups that fit the device. A rule that
    fails is a problem in the results and does not stop the others; so is one whose records
    a newer bioplaus wrote, which stay as they are. What cannot be written is a problem too,
    and ends the run, since nothing more could be kept. NotWritable for a folder in which
    nothing can be written, where something is to be trained.

    What another process trains in the same folder is put off, and its records are used; of
    that `tell` is told in one line, once for each process and experiment.
    """
    results, told = Results(), set[str]()

    def claim(item: tuple[SeedRecords, TaskData]) -> Path | None:
        cell = item[0]
        try:
            if cell.missing(seeds, force, save_weights):
                store.check_writable()
                return cell.claim
        except NewerError:
            return None  # `_run_cell` meets it again, and tells
        store.claims.tidy(cell.claim)
        return None

    def put_off(item: tuple[SeedRecords, TaskData], holder: Holder) -> None:
        line = waiting_line(item[0].title, holder)
        if line not in told:
            told.add(line)
            tell(line)

    cells = _cells(experiments, store, execution.device)
    turns = contextlib.closing(in_turn(cells, claim, store.claims, put_off))
    with store.claims, turns as turn:
        try:
            for cell, data in turn:
                _run_cell(cell, data, seeds, results, execution, force, save_weights, observe)
        except NotWritable:
            raise
        except RecordError as error:
            results.problems.append(f"stopped: {error}")
    results.records.sort(key=lambda r: (r.task, r.rule, r.label, r.cell, r.seed))
    return results


def _cells(
    experiments: Iterable[Experiment], store: Store, device: torch.device
) -> Iterator[tuple[SeedRecords, TaskData]]:
    """Where the records of each are, and its data, which those on the same data share."""
    datasets: dict[str, TaskData] = {}
    for experiment in experiments:
        use_precision(experiment.precision, device)
        content = experiment.task.model_dump_json(include={"dataset", "validation", "batch_size"})
        if content not in datasets:
            datasets = {content: experiment.task.load_data()}
        data = datasets[content]
        yield SeedRecords(experiment, store, experiment.configuration(data)), data


def _run_cell(
    cell: SeedRecords,
    data: TaskData,
    seeds: Sequence[int],
    results: Results,
    execution: Execution,
    force: bool,
    save_weights: bool,
    observe: Observer,
) -> None:
    """Train what is missing of a cell; RecordError where a record cannot be written."""
    try:
        refuse_edited(cell, seeds if force else ())
        missing = cell.with_company(cell.missing(seeds, force, save_weights), seeds)
    except PluginError as error:
        results.problems.append(str(error))
        return
    except NewerError as error:
        results.problems.append(f"{cell.title} is not run: {error}")
        return
    for seed in sorted(set(seeds) - set(missing)):
        results.records.append(cell.read(seed))
        results.reused += 1
    if not missing:
        return
    try:
        here = replace(execution, checkpoints=cell.folder)
        for trainer in train_groups(cell.experiment, data, missing, here, observe):
            cell.keep(trainer, save_weights, results.records, replace=force)
            _note(trainer, results.notes)
        remove_checkpoints(cell.folder)
    except RecordError:
        raise
    except BioplausError as error:
        results.problems.append(str(error))


def _note(trainer: Trainer, notes: list[str]) -> None:
    """Why steps were not traced, compiled or captured, once for each reason."""
    stepper = trainer.stepper
    reasons = [(f"ran {p.how}", p.why) for p in stepper.programs if p.why]
    reasons += [("is no CUDA graph", why) for why in stepper.not_captured]
    for what, why in reasons:
        if not any(why in note for note in notes):
            notes.append(f"the step of {stepper.rule.name} {what}: {why}")
    notes += [note for note in trainer.notes if note not in notes]
