"""From records to measurements: each seed's network is had, measured, and kept beside it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from bioplaus.axes.axis import Reading, Trained
from bioplaus.axes.by_name import AnyAxis
from bioplaus.axes.weights_of_records import WeightsOfRecords
from bioplaus.errors import BioplausError, PluginError, shown
from bioplaus.experiments.experiment import Experiment
from bioplaus.learning.batching import cast
from bioplaus.learning.rule import State
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.plugins.defaults import REFERENCE
from bioplaus.records.doubts import as_stored
from bioplaus.records.keys import measurement_key
from bioplaus.records.schema import Described, Measurement, Record, ResultSet
from bioplaus.records.store import Store
from bioplaus.running.verify import accuracy_tolerance, experiment_of
from bioplaus.running.weights import Weights
from bioplaus.system.blame import blaming
from bioplaus.system.device import PRECISIONS, provenance, suitable_threads
from bioplaus.training.groups import prepared
from bioplaus.training.progress import Progress, Splits

Watch = Callable[[str, float], None]
"""Told what is at work, and how many of the seeds are done, a fraction for the one at work."""


_READINGS = "return {'name': bioplaus.axes.Reading(number), ...}"


@dataclass
class Measured:
    """What came of it."""

    measurements: list[Measurement] = field(default_factory=list)
    reused: int = 0
    """How many were there already."""
    problems: list[str] = field(default_factory=list)
    """What was not measured and why, one line each."""


@dataclass
class Measuring:
    """One axis over the records of a folder."""

    axis: AnyAxis
    store: Store
    found: ResultSet
    """What the folder holds."""
    device: torch.device
    watch: Watch = lambda what, done: None
    force: bool = False
    """Measure again what was measured."""
    keeps: bool = True
    """Write measurements into the folder; else they are only given."""

    def __post_init__(self) -> None:
        self._records = [as_stored(record) for record in self.found.records]
        self._weights = WeightsOfRecords(self.store, self._records, self._retrains)
        self._what, self._done = "", 0.0
        self._cells: dict[str, tuple[Experiment, Splits]] = {}

    @property
    def done(self) -> float:
        """How many seeds, those of earlier calls of `run` included."""
        return self._done

    def run(self, records: Sequence[Record]) -> Measured:
        """Measure these; what cannot be measured is a problem and stops no other."""
        if self.keeps:
            self.store.check_writable()
        result = Measured()
        cells: dict[str, list[Record]] = defaultdict(list)
        for record in map(as_stored, records):
            cells[record.cell].append(record)
        for group in cells.values():
            for record, problem in self._cell(group, result):
                name = f"{record.rule} {record.label}".rstrip()
                result.problems.append(f"{name} on {record.task}, seed {record.seed}: {problem}")
        result.measurements.sort(key=lambda m: (m.task, m.rule, m.label, m.cell, m.seed))
        return result

    def _cell(self, group: Sequence[Record], result: Measured) -> Iterator[tuple[Record, str]]:
        first = group[0]
        for record in group:
            self._what = f"{record.rule} on {record.task}, seed {record.seed}"
            self.watch(self._what, self._done)
            try:
                there = None if self.force else self._there(record)
                if there is not None:
                    result.reused += 1
                result.measurements.append(there or self._measure(record))
            except BioplausError as error:
                yield record, str(error)
            self._done = float(int(self._done) + 1)
            self.watch(self._what, self._done)
        self._cells.pop(first.cell, None)

    def _measure(self, record: Record) -> Measurement:
        if record.status == "diverged":
            raise BioplausError("not measured, it diverged")
        experiment, _ = self._prepared(record)
        if why := self._unsupported(experiment):
            raise BioplausError(f"not measured: {why}")
        saved = self._weights.saved(record, experiment)
        weights = saved or self._weights.trained_again(record)
        trained = self._trained(record, weights)
        self._check_accuracy(trained, record)
        start = time.perf_counter()
        readings = self._read(trained)
        origin = provenance(self.device, torch.get_num_threads(), (record.seed,))
        origin["axis"] = registry.find("axis", self.axis.name).origin()
        origin["weights"] = "saved" if saved else "trained again"
        item = measurement(self.axis, record, weights, readings, origin)
        item = item.model_copy(update={"seconds": time.perf_counter() - start})
        return self.store.publish(item, replace=self.force) if self.keeps else item

    def _unsupported(self, experiment: Experiment) -> str | None:
        with blaming(f"the axis {self.axis.name!r} failed in `supports`", self.axis):
            why: object = self.axis.supports(experiment)
        if why is not None and not isinstance(why, str):
            raise PluginError(
                f"the axis {self.axis.name!r}: `supports` returned {shown(repr(why), 60)}; return "
                "None where it can be measured, else the reason why not"
            )
        return why

    def _read(self, trained: Trained) -> Mapping[str, Reading]:
        done, experiment = self._done, trained.experiment
        work = experiment.task.batch_size * experiment.network.widest_product()
        axis, task = self.axis, experiment.task
        with (
            blaming(f"the axis {axis.name!r} failed on {task.name}", axis),
            suitable_threads(work),
        ):
            given: object = axis.measure(
                trained, lambda share: self.watch(self._what, done + 0.99 * share)
            )
        if not isinstance(given, Mapping) or not given:
            said = shown(" ".join(repr(given).split()), 60)
            raise PluginError(f"the axis {axis.name!r}: `measure` returned {said}; {_READINGS}")
        return given

    def readings(self, record: Record, weights: Weights) -> Mapping[str, Reading]:
        """Of one network, kept nowhere."""
        return self._read(self._trained(record, weights))

    def weights(self, record: Record) -> Weights:
        """From files, or trained again; BioplausError where they cannot be had."""
        experiment, _ = self._prepared(record)
        return self._weights.saved(record, experiment) or self._weights.trained_again(record)

    def _prepared(self, record: Record) -> tuple[Experiment, Splits]:
        if record.cell not in self._cells:
            experiment, data = experiment_of(record)
            self._cells[record.cell] = experiment, prepared(experiment, data, self.device)
        return self._cells[record.cell]

    def _trained(self, record: Record, weights: Weights) -> Trained:
        experiment, splits = self._prepared(record)
        dtype = PRECISIONS[experiment.precision]
        params, aux, memory = (
            cast(part, dtype, self.device) for part in (weights.params, *weights.state)
        )
        stream = Stream(record.seed).at("axis", self.axis.name)
        return Trained(
            experiment, record.seed, params, State(aux, memory), splits, stream,
            lambda: self._reference(record),
        )  # fmt: skip

    def _reference(self, record: Record) -> Trained | None:
        """The reference rule's network of the same task, data, epochs and seed."""
        shared = ("task", "data", "epochs", "precision")
        content = {name: record.configuration.get(name) for name in shared}
        alike = [
            r
            for r in self._records
            if r.rule == REFERENCE and r.seed == record.seed and r.status == "complete"
            and {name: r.configuration.get(name) for name in shared} == content
        ]  # fmt: skip
        if not alike:
            return None
        chosen = min(alike, key=lambda r: (len(r.label), r.label, r.cell))
        return self._trained(chosen, self.weights(chosen))

    def _there(self, record: Record) -> Measurement | None:
        """What was measured before of the same weights, or of the record where none are kept."""
        wanted = (self.axis.name, self.axis.version, settings_of(self.axis), record.key)
        alike = [
            m for m in self.found.measurements
            if (m.axis, m.version, m.settings, m.record) == wanted
        ]  # fmt: skip
        if not alike:
            return None
        experiment, _ = self._prepared(record)
        saved = self._weights.saved(record, experiment)
        return next((m for m in alike if saved is None or m.weights == saved.digest), None)

    def _check_accuracy(self, trained: Trained, record: Record) -> None:
        """BioplausError where weights do not give the record's accuracy: they are another's."""
        test = trained.data.test
        classes = "classes" in trained.experiment.task.gives
        if test is None or record.test_accuracy is None or not classes:
            return  # elsewhere it is a probe's, or nothing
        with torch.no_grad():
            right = (trained.answers(test.x).argmax(1) == test.y).double().mean().item()
        allowed = min(accuracy_tolerance(right, len(test)), max(0.002, 2 / len(test)))
        if abs(right - record.test_accuracy) > allowed:
            raise BioplausError(
                f"not measured: the weights beside it answer {100 * right:.2f} % right, the record "
                f"says {100 * record.test_accuracy:.2f} %; they are of another run"
            )

    def _retrains(self, experiment: Experiment, progress: Progress) -> None:
        share = progress.step / max(1, progress.steps)
        what = f"{experiment.rule.name} on {experiment.task.name}: training again"
        self.watch(f"{what}, {100 * share:.0f} %", self._done)


def settings_of(axis: AnyAxis) -> dict[str, Any]:
    """All of an axis's settings, as JSON has them."""
    found: dict[str, Any] = axis.config.model_dump(mode="json")
    return found


def measurement(
    axis: AnyAxis,
    record: Record,
    weights: Weights,
    readings: Mapping[str, Reading],
    origin: dict[str, object],
) -> Measurement:
    """What is kept of readings; PluginError where an axis gave what is none."""
    settings, sha256 = settings_of(axis), weights.digest
    values = {name: _numbers(axis, name, reading) for name, reading in readings.items()}
    described = {
        name: Described(over=r.over, at=list(r.at), share=r.share, words=r.words, place=i)
        for i, (name, r) in enumerate(readings.items())
    }
    return Measurement(
        key=measurement_key(axis.name, axis.version, settings, record.key, sha256),
        axis=axis.name, version=axis.version, settings=settings, record=record.key,
        weights=sha256, cell=record.cell, task=record.task, rule=record.rule,
        label=record.label, seed=record.seed, values=values, described=described,
        seconds=0.0, provenance=origin,
    )  # fmt: skip


def _numbers(axis: AnyAxis, name: str, reading: Any) -> Any:
    if not isinstance(reading, Reading):
        raise PluginError(f"the axis {axis.name!r}: {name!r} is no Reading; {_READINGS}")
    try:
        numbers = torch.as_tensor(reading.value, dtype=torch.float64).tolist()
    except (TypeError, ValueError, RuntimeError):
        said = shown(repr(reading.value), 60)
        raise PluginError(f"the axis {axis.name!r}: {name!r} is {said}; {_READINGS}") from None
    listed = numbers if isinstance(numbers, list) else []
    if isinstance(numbers, list) != bool(reading.over) or len(listed) != len(reading.at):
        raise PluginError(
            f"the axis {axis.name!r}: {name!r} has {len(listed)} numbers over "
            f"{reading.over or 'nothing'!r} at {len(reading.at)} places; a list says what it runs "
            "over, and where: Reading(tensor, over='k', at=(1, 2, 4))"
        )
    return numbers
