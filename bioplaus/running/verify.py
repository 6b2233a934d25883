"""Does a record reproduce? Its own configuration is run again and compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bioplaus import tasks
from bioplaus.errors import BioplausError, ConfigError, RecordError
from bioplaus.experiments.experiment import Experiment, configure
from bioplaus.learning.batching import Rule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.plugins import registry
from bioplaus.records.doubts import source_of
from bioplaus.records.metric import Metric, metric_of
from bioplaus.records.schema import Record
from bioplaus.records.store import Store
from bioplaus.running.seed_records import SeedRecords
from bioplaus.system.device import resolve_device
from bioplaus.tasks.task import Task, TaskData, read_task
from bioplaus.training.execution import Execution
from bioplaus.training.groups import Observer, train_groups
from bioplaus.training.seed_outcome import measured_before
from bioplaus.training.stepper import Compile
from bioplaus.training.trainer import Trainer

ROUNDING = {"fp32": 1e-2, "tf32": 1e-2, "fp64": 1e-9}
"""How far the first epoch's loss may be off, relative, where only rounding differs. Rounding is
6e-8, 5e-4 and 1e-16; steps multiply it, and Adam makes a whole step of a gradient that is
nothing but rounding: 3.1e-3 was measured in fp32, with other matrix kernels (docs/submitting.md).
"""
STANDARD_ERRORS = 4.0
"""How far the accuracy after the last epoch may be off, in standard errors of the difference of
two accuracies on that many test examples: by then rounding has made it another run."""
SAME_FOR_BITS = (
    "device", "device_type", "threads", "seeds_together", "execution", "measurements"
)  # fmt: skip
"""Provenance that must agree before all bits are expected to."""


@dataclass(frozen=True)
class Again:
    """What came of training a record's group again."""

    cell: SeedRecords
    trainers: Sequence[Trainer]
    records: dict[int, Record]
    """By seed."""
    test_examples: int

    def judged(self, record: Record) -> Reproduction:
        """How a record compares."""
        return _judged(record, self.records[record.seed], self.test_examples)


@dataclass(frozen=True)
class Reproduction:
    """What came out."""

    reproduces: bool
    exact: bool
    """Whether every bit was expected to agree."""
    reasons: list[str]
    """What differs between the two runs' conditions, and then what differs in the results."""
    again: Record


def experiment_of(record: Record) -> tuple[Experiment, TaskData]:
    """The experiment that a record's configuration describes, and its data.

    Raises BioplausError where this installation cannot run it: another version of the rule,
    other data, a rule or data set that is not there.
    """
    try:
        content: dict[str, Any] = record.configuration
        optimizer = OptimizerSpec.model_validate(content["optimizer"])
        auxiliary = content["aux_optimizer"]
        task = Task.model_validate(
            {
                **content["task"],
                "name": record.task,
                "epochs": content["epochs"],
                "optimizer": content["optimizer"],
            }
        )
        options, version = content["options"], content["rule_version"]
        precision = content["precision"]
    except (KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ConfigError(f"its configuration cannot be run: {reason}; written by hand?") from None
    rule: Rule = registry.load("rule", record.rule).configured(options)
    if rule.version != version:
        raise ConfigError(
            f"the record is of version {version} of {record.rule}; version {rule.version} is "
            "installed: install the bioplaus that made it (see its provenance)"
        )
    spec = auxiliary and OptimizerSpec.model_validate(auxiliary)
    experiment = Experiment(task, rule, optimizer, spec, precision, record.label)
    return experiment, task.load_data()


def verify(
    record: Record, *, alone: bool = False, observe: Observer = lambda experiment, progress: None
) -> Reproduction:
    """Run one seed of a record again, with the seeds beside it unless `alone`, and compare.

    Where device, threads, seeds trained together and torch are the record's, everything must
    agree to the last bit; elsewhere within the tolerances of this module.
    """
    (found,) = verify_together([record], alone=alone, observe=observe)
    return found


def verify_together(
    records: Sequence[Record],
    *,
    alone: bool = False,
    observe: Observer = lambda experiment, progress: None,
) -> list[Reproduction]:
    """The same for several records that one training made: it is run again once.

    records: with one `group_of`, one after the other in the result. alone: each trains the
    seeds of these records only. Raises BioplausError where this installation cannot run it.
    """
    again = train_again(records, alone=alone, observe=observe)
    return [again.judged(record) for record in records]


def train_again(
    records: Sequence[Record],
    *,
    alone: bool = False,
    observe: Observer = lambda experiment, progress: None,
) -> Again:
    """Train what trained together with these records once more, under their own conditions.

    Arguments and errors as for `verify_together`.
    """
    record = records[0]
    experiment, data = experiment_of(record)
    cell = SeedRecords(experiment, Store("."), experiment.configuration(data))
    if cell.digest != record.cell:
        raise BioplausError(
            f"{record.task}: the data here are not the record's, or this bioplaus describes the "
            "configuration differently; nothing was run"
        )
    group = sorted(r.seed for r in records) if alone else list(group_of(record))
    if lacking := [r.seed for r in records if r.seed not in group]:
        raise RecordError(f"seed {lacking[0]} is not among those that it says trained together")
    origin = record.provenance
    device = _device(origin)
    steps, measured = (_compile(origin.get(n)) for n in ("execution", "measurements"))
    execution = Execution(device, steps or "off", len(group), measured=measured)
    before = torch.get_num_threads()
    threads = origin.get("threads")
    torch.set_num_threads(threads if type(threads) is int and 0 < threads < 1024 else before)
    try:
        trainers = list(train_groups(experiment, data, group, execution, observe))
        made = {r.seed: r for trainer in trainers for r in cell.records(trainer)}
    finally:
        torch.set_num_threads(before)
    return Again(cell, trainers, made, len(data.test))


def group_of(record: Record) -> tuple[int, ...]:
    """The seeds that trained together with a record's; its own alone where it says nothing."""
    together = record.provenance.get("seeds_together")
    return tuple(map(int, together)) if isinstance(together, list) else (record.seed,)


def _judged(record: Record, again: Record, examples: int) -> Reproduction:
    differences = conditions(record, again)
    exact = not differences
    found = different_bits(record, again) if exact else beyond_tolerance(record, again, examples)
    found += different_words(record, again)
    return Reproduction(not found, exact, [*differences, *found], again)


def different_words(record: Record, again: Record) -> list[str]:
    """A label, card or cost that is not what the rule says of itself and the step takes."""
    found = []
    label = label_of(again)
    if label is not None and record.label != label:
        found.append(f"the label was {record.label!r}, is {label!r}")
    if source_of(record) == source_of(again) and source_of(record) is not None:
        if record.card is not None and record.card != again.card:
            found.append("the card is not the rule's")
        counts = [(c.step_flops, c.forward_equivalents) for c in (record.cost, again.cost) if c]
        same_way = record.provenance.get("execution") == again.provenance.get("execution")
        if same_way and len(set(counts)) > 1:
            found.append(f"the step's operations were {counts[0][0]}, are {counts[1][0]}")
    return found


def label_of(record: Record) -> str | None:
    """The label of its configuration; None where its task is not one that is here by name."""
    content: dict[str, Any] = record.configuration
    if record.task not in tasks.names():
        return None
    settings = {f"{record.rule}.{name}": value for name, value in content["options"].items()}
    for section in ("optimizer", "aux_optimizer"):
        for name, value in (content[section] or {}).items():
            settings[f"{section}.{name}"] = value
    fixed = ("network", "name")
    base = read_task(record.task)
    for name, value in content["task"].items():
        if name not in fixed and value != base.content().get(name):
            settings[f"task.{name}"] = value
    if content["task"].get("network") != base.content().get("network"):
        return None  # a doubt of its own
    settings["task.epochs"] = content["epochs"]
    return configure(record.rule, base, settings, content["precision"]).label


def conditions(record: Record, again: Record) -> list[str]:
    """What of the provenance keeps two runs from agreeing to the last bit."""
    old, new = record.provenance, again.provenance
    pairs = [(name, old.get(name), new.get(name)) for name in SAME_FOR_BITS]
    pairs.append(("torch", _torch(old), _torch(new)))
    # records from before evaluations were programs do not say how those ran
    silent = "measurements", None
    return [f"{n} was {a}, is {b}" for n, a, b in pairs if a != b and (n, a) != silent]


def different_bits(record: Record, again: Record) -> list[str]:
    """Every fact that is not the same."""
    names = ("status", "diverged_epoch", "train_loss", "validation_accuracy", "test_accuracy")
    found = [
        f"{name} was {getattr(record, name)}, is {getattr(again, name)}"
        for name in names
        if getattr(record, name) != getattr(again, name)
    ]
    metrics = measured_before(again.curves.metrics, record.curves.metrics)
    same = record.curves == again.curves.model_copy(update={"metrics": metrics})
    found = found or ["the curves differ"] * (not same)
    return found or ["it stopped otherwise"] * (record.early_stop != again.early_stop)


def beyond_tolerance(record: Record, again: Record, examples: int) -> list[str]:
    """What is further off than rounding explains."""
    if record.status != again.status:
        return [f"status was {record.status}, is {again.status}"]
    found = []
    bound = ROUNDING[str(record.configuration["precision"])]
    old, new = record.curves.metrics["loss"][0], again.curves.metrics["loss"][0]
    if (old is None) != (new is None) or (old and new and abs(new - old) > bound * abs(old)):
        found.append(f"the first epoch's loss was {old}, is {new}: more than {bound:g} of it off")
    metric = metric_of(record.configuration)
    old, new = metric.score(record), metric.score(again)
    if old is None or new is None:
        return found
    allowed = tolerance(metric, old, examples)
    if abs(new - old) > allowed:
        found.append(
            f"the test {metric.words} was {old:.4f}, is {new:.4f}: more than {allowed:.4f} off"
        )
    return found


def tolerance(metric: Metric, value: float, examples: int) -> float:
    """How far a metric on so many examples may be off where rounding alone differs.

    Of an accuracy so many standard errors, `accuracy_tolerance`. Of R2 as many of its own,
    2 sqrt(R2) (1 - R2) / sqrt(n), at least one hundredth of what it leaves unexplained; of a
    loss a tenth of it.
    """
    if metric.name == "accuracy":
        return accuracy_tolerance(value, examples)
    if metric.name == "r2":
        error = 2 * math.sqrt(2 * max(value, 0.0) / examples)
        return max(STANDARD_ERRORS * error, 0.01) * (1 - value)
    return 0.1 * abs(value)


def accuracy_tolerance(accuracy: float, examples: int) -> float:
    """So many standard errors of a difference of two such accuracies, at least two examples."""
    spread = math.sqrt(2 * accuracy * (1 - accuracy) / examples)
    return max(STANDARD_ERRORS * spread, 2 / examples)


def _device(origin: Mapping[str, Any]) -> torch.device:
    """The record's kind of device, or where there is none here, the one that there is."""
    try:
        return resolve_device(str(origin.get("device_type", "cpu")))
    except ConfigError:
        return resolve_device("auto")


def _compile(how: object) -> Compile | None:
    """What makes programs run as a record says that its own ran; None where it does not say."""
    return None if how is None else "on" if how == "compiled" else "off"


def _torch(origin: dict[str, Any]) -> object:
    packages = origin.get("packages")
    return packages.get("torch") if isinstance(packages, dict) else None
