"""Running experiments: train what is missing, keep a record of every seed."""

from __future__ import annotations

import contextlib
import io
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from bioplaus import registry
from bioplaus.card import rule_card
from bioplaus.checkpoint import remove_checkpoints
from bioplaus.claims import Holder
from bioplaus.dataset import Split
from bioplaus.environment import (
    PRECISIONS,
    provenance,
    suitable_threads,
    use_precision,
)
from bioplaus.errors import BioplausError, PluginError, RecordError
from bioplaus.execution import Execution, budget, checkpoints, cost, groups, halved
from bioplaus.experiment import Experiment
from bioplaus.outcome import Outcome
from bioplaus.records import (
    Cost,
    Curves,
    Record,
    Timing,
    digest,
    seed_key,
)
from bioplaus.store import Store, read_record, write_atomically
from bioplaus.task import TaskData, TrainingData, prepare
from bioplaus.trainer import Progress, Splits, Trainer
from bioplaus.turns import in_turn, waiting_line

Observer = Callable[[Experiment, Progress], None]


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
    fails is a problem in the results and does not stop the others. What cannot be written
    is one too, and ends the run, since nothing more could be kept.

    What another process trains in the same folder is put off, and its records are used; of
    that `tell` is told in one line, once for each process and experiment.
    """
    store.check_writable()
    results, told = Results(), set[str]()

    def claim(item: tuple[Cell, TaskData]) -> Path | None:
        cell = item[0]
        if cell.missing(seeds, force, save_weights):
            return cell.claim
        store.claims.tidy(cell.claim)
        return None

    def put_off(item: tuple[Cell, TaskData], holder: Holder) -> None:
        line = waiting_line(item[0].title, holder)
        if line not in told:
            told.add(line)
            tell(line)

    cells = _cells(experiments, store, execution.device)
    with contextlib.closing(in_turn(cells, claim, store.claims, put_off)) as turns:
        try:
            for cell, data in turns:
                _run_cell(cell, data, seeds, results, execution, force, save_weights, observe)
        except RecordError as error:
            results.problems.append(f"stopped: {error}")
    results.records.sort(key=lambda r: (r.task, r.rule, r.label, r.cell, r.seed))
    return results


def _cells(
    experiments: Iterable[Experiment], store: Store, device: torch.device
) -> Iterator[tuple[Cell, TaskData]]:
    """Where the records of each are, and its data, which those on the same data share."""
    datasets: dict[str, TaskData] = {}
    for experiment in experiments:
        use_precision(experiment.precision, device)
        content = experiment.task.model_dump_json(include={"dataset", "validation", "batch_size"})
        if content not in datasets:
            datasets = {content: experiment.task.load_data()}
        data = datasets[content]
        yield Cell(experiment, store, experiment.configuration(data)), data


def _run_cell(
    cell: Cell,
    data: TaskData,
    seeds: Sequence[int],
    results: Results,
    execution: Execution,
    force: bool,
    save_weights: bool,
    observe: Observer,
) -> None:
    """Train what is missing of a cell; RecordError where a record cannot be written."""
    missing = cell.missing(seeds, force, save_weights)
    for seed in sorted(set(seeds) - set(missing)):
        results.records.append(cell.read(seed))
        results.reused += 1
    if not missing:
        return
    try:
        here = replace(execution, checkpoints=cell.folder)
        for trainer in train_groups(cell.experiment, data, missing, here, observe):
            cell.keep(trainer, save_weights, results, replace=force)
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


def train_groups(
    experiment: Experiment,
    data: TrainingData,
    seeds: Sequence[int],
    execution: Execution,
    observe: Observer = lambda experiment, progress: None,
) -> Iterator[Trainer]:
    """Train these seeds, as many together as fit; without a test split where there is none.

    A group that does not fit into memory after all is split in two, which is noted.
    PluginError where the rule raises.
    """
    network, rule, task = experiment.network, experiment.rule, experiment.task
    with blaming(experiment):
        splits = prepared(experiment, data, execution.device)
        waiting = groups(experiment, splits.train, seeds, execution)
        notes: list[str] = []
        while waiting:
            group = waiting.pop(0)
            with suitable_threads(len(group) * task.batch_size * network.widest_product()):
                try:
                    trainer = Trainer(
                        rule, network, splits, budget(experiment), group, execution.compile
                    )
                    trainer.train(
                        lambda progress: observe(experiment, progress),
                        checkpoints(execution, [experiment], data, group),
                    )
                except Exception as error:
                    notes.append(halved(error, len(group), experiment))
                    middle = len(group) // 2
                    waiting[:0] = [group[:middle], group[middle:]]
                    continue
            trainer.notes[:0] = notes
            yield trainer


def prepared(experiment: Experiment, data: TrainingData, device: torch.device) -> Splits:
    """The data as the experiment's network reads them; no test split where there is none."""
    use_precision(experiment.precision, device)
    shape, dtype = experiment.network.in_shape, PRECISIONS[experiment.precision]

    def ready(split: Split | None) -> Split | None:
        return None if split is None else prepare(split, shape, data.scale, dtype, device)

    train = prepare(data.train, shape, data.scale, dtype, device)
    return Splits(
        train, ready(data.validation), ready(data.test if isinstance(data, TaskData) else None)
    )


@contextlib.contextmanager
def blaming(experiment: Experiment) -> Iterator[None]:
    """Whatever a rule raises as a PluginError with one line."""
    rule, task = experiment.rule, experiment.task
    try:
        yield
    except BioplausError:
        raise
    except Exception as error:  # a plugin may raise anything; the other rules go on
        if os.environ.get("BIOPLAUS_TRACEBACK"):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginError(
            f"the rule {rule.name!r} failed on {task.name}: {type(error).__name__}: {error} "
            f"(line {where.lineno} of {Path(where.filename).name})"
        ) from error


@dataclass(frozen=True)
class Cell:
    """The records of one experiment's seeds in a store."""

    experiment: Experiment
    store: Store
    configuration: dict[str, object]

    @cached_property
    def digest(self) -> str:
        return digest(self.configuration)

    def path(self, seed: int) -> Path:
        return self.store.path(
            self.experiment.task.name, self.experiment.rule.name, self.digest, seed
        )

    @property
    def folder(self) -> Path:
        """Where all of it is kept."""
        return self.path(0).parent

    @property
    def claim(self) -> Path:
        """What to claim before it is trained."""
        task, rule = self.experiment.task.name, self.experiment.rule.name
        return self.store.cell_claim(task, rule, self.digest)

    @property
    def title(self) -> str:
        """A few words for people."""
        experiment = self.experiment
        return f"{experiment.rule.name} on {experiment.task.name} {experiment.label}".rstrip()

    def missing(self, seeds: Sequence[int], force: bool, weights: bool) -> list[int]:
        """Which of the seeds to train."""
        return [seed for seed in seeds if force or not self.has(seed, weights)]

    def has(self, seed: int, weights: bool) -> bool:
        """Whether that seed's record, and its weights if wanted, are there and sound."""
        if weights and not self.path(seed).with_suffix(".pt").is_file():
            return False
        try:
            return self.read(seed).key == seed_key(self.digest, seed)
        except RecordError:
            return False

    def read(self, seed: int) -> Record:
        """That seed's record; RecordError where there is none, or a damaged one."""
        return read_record(self.path(seed))

    def keep(
        self, trainer: Trainer, weights: bool, results: Results, replace: bool = False
    ) -> None:
        """Write every seed's record, and put what stands there then into the results.

        RecordError where one cannot be written; all are in the results even so.
        """
        records = self.records(trainer)
        try:
            for i, outcome in enumerate(trainer.outcomes):
                if weights:
                    buffer = io.BytesIO()
                    torch.save({k: v.clone() for k, v in outcome.params.items()}, buffer)
                    path = self.path(outcome.seed).with_suffix(".pt")
                    write_atomically(path, buffer.getvalue())
                records[i] = self.store.publish(records[i], replace=replace)
        finally:
            results.records += records

    def records(self, trainer: Trainer) -> list[Record]:
        """The facts on each seed that trained together."""
        first = trainer.stepper.programs[0]
        origin = provenance(trainer.device, trainer.threads, trainer.seeds, first.how)
        if trainer.resumed_at:
            origin["resumed_at_steps"] = trainer.resumed_at
        if trainer.notes:
            origin["notes"] = trainer.notes
        origin["rule"] = registry.find("rule", self.experiment.rule.name).origin()
        return [self._record(o, trainer, cost(trainer), origin) for o in trainer.outcomes]

    def _record(
        self, outcome: Outcome, trainer: Trainer, taken: Cost, origin: dict[str, object]
    ) -> Record:
        size = len(trainer.seeds)
        lost = outcome.diverged_epoch is not None
        return Record(
            key=seed_key(self.digest, outcome.seed),
            cell=self.digest,
            task=self.experiment.task.name,
            rule=self.experiment.rule.name,
            seed=outcome.seed,
            label=self.experiment.label,
            status="diverged" if lost else "complete",
            diverged_epoch=outcome.diverged_epoch,
            configuration=self.configuration,
            train_loss=outcome.metrics["loss"][-1],
            validation_accuracy=outcome.validation_accuracy[-1],
            test_accuracy=outcome.test_accuracy[-1],
            curves=Curves(
                metrics=outcome.metrics,
                validation_accuracy=outcome.validation_accuracy,
                test_accuracy=outcome.test_accuracy,
                alignment=outcome.alignment,
            ),
            timing=Timing(
                group_train_seconds=trainer.train_seconds,
                group_evaluation_seconds=trainer.evaluation_seconds,
                group_size=size,
                setup_seconds=trainer.setup_seconds,
                train_seconds=trainer.train_seconds / size,
            ),
            cost=taken,
            card=rule_card(self.experiment.rule),
            provenance=origin,
        )
