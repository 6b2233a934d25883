"""How fast cells train here, before any record says so: a few steps of each, timed.

On synthetic examples of the task's shape, so that it needs no data. What was timed is kept
in the user's cache for this device, this torch and this source of the rule.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bioplaus.benchmark.estimate import Cell, Speeds, cell_of
from bioplaus.benchmark.plan import Entry, Left, Place
from bioplaus.errors import BioplausError, RecordError
from bioplaus.experiments.experiment import Experiment
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.records.keys import digest
from bioplaus.system.atomic_files import write_atomically
from bioplaus.system.device import PRECISIONS, device_name, suitable_threads, use_precision
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.door import load_dataset
from bioplaus.training.budget import budget
from bioplaus.training.stepper import Stepper

STEPS = 10
_WARM = 2
"""Steps before, in which all is traced."""
_LONGEST_SECONDS = 2.0
"""Of one timing: fewer steps of what is slow, one at least."""
MOST_SECONDS = 60.0
"""Of all timings of a plan; what is left over then has no estimate."""


def timed(
    lefts: Sequence[Left],
    known: Speeds,
    place: Place,
    watch: Callable[[str], None] = lambda what: None,
) -> dict[Cell, float]:
    """Seconds of one seed's epoch, of those whose speed is not known yet.

    Of a sweep, the smallest and the largest network are timed, and what lies between is taken to
    lie between them by its multiply-adds. Without those that raise, whose examples nobody can
    count without the data, and those for which no time is left. watch: told of each cell that is
    timed.
    """
    sweeps: dict[tuple[str, str], dict[Cell, Left]] = defaultdict(dict)
    for item in lefts:
        cell = cell_of(item.entry)
        if cell not in known and steps_per_epoch(item.entry):
            sweeps[item.entry.task.name, item.entry.rule].setdefault(cell, item)
    paces = _Paces(place)
    found = {}
    for sweep in sweeps.values():
        for cell, pace in paces.of_all(sweep, watch).items():
            found[cell] = pace * (steps_per_epoch(sweep[cell].entry) or 0)
    paces.keep()
    return found


def steps_per_epoch(entry: Entry) -> int | None:
    """None where the data set does not say how many examples it has, and they are not here."""
    task = entry.base.task
    # of a split, the experience with the fewest examples decides: about so many steps
    split = task.continual is not None and task.continual.kind == "split"
    batch = task.batch_size * (task.continual.experiences if split and task.continual else 1)
    if entry.data is not None:
        return len(entry.data.train) // batch
    size = load_dataset(task.dataset).sizes.get("train")
    if size is None:
        return None
    return min(task.train_examples or size, max(0, size - task.validation)) // batch


class _Paces:
    """Seconds of a seed's step, by all that decides them."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._device = torch.device(place.device)
        self._known = _read()
        self._start = time.monotonic()

    def of_all(self, sweep: Mapping[Cell, Left], watch: Callable[[str], None]) -> dict[Cell, float]:
        """Of one task's variations under one rule: the ends timed, those between interpolated."""
        work = {cell: _multiply_adds(item.entry.base) for cell, item in sweep.items()}
        least, most = min(work, key=work.__getitem__), max(work, key=work.__getitem__)
        ends: dict[Cell, float] = {}
        for cell in dict.fromkeys((least, most)):
            item = sweep[cell]
            pace = self.of(item.entry.base, len(item.seeds) or 1, watch)
            if pace is None:
                return ends
            ends[cell] = pace
        wide = work[most] - work[least] or 1
        rise = (ends[most] - ends[least]) / wide
        return {cell: ends[least] + rise * (work[cell] - work[least]) for cell in sweep}

    def of(self, experiment: Experiment, seeds: int, watch: Callable[[str], None]) -> float | None:
        replicas = min(seeds, self._place.together(experiment))
        key = self._key(experiment, replicas)
        if key not in self._known:
            if time.monotonic() - self._start > MOST_SECONDS:
                return None
            watch(f"{experiment.rule.name} on {experiment.task.name}")
            try:
                self._known[key] = step_seconds(experiment, replicas, self._device)
            except (BioplausError, RuntimeError, MemoryError):
                return None  # what is wrong with it, a run will say
        return self._known[key]

    def _key(self, experiment: Experiment, replicas: int) -> str:
        task, auxiliary = experiment.task, experiment.aux_optimizer
        return digest({
            "device": device_name(self._device), "torch": torch.__version__,
            "rule": registry.find("rule", experiment.rule.name).origin(),
            "options": experiment.rule.config.model_dump(mode="json"),
            "task": task.model_copy(update=_NO_MATTER).content(),
            "shape": experiment.network.in_shape, "precision": experiment.precision,
            "optimizers": [experiment.optimizer.name, auxiliary and auxiliary.name],
            "replicas": replicas,
        })  # fmt: skip

    def keep(self) -> None:
        with contextlib.suppress(RecordError):
            write_atomically(_file(), json.dumps(self._known, indent=1).encode())


_NO_MATTER = {"dataset": "any", "validation": 0} | dict.fromkeys(
    ("train_examples", "label_noise", "schedule", "evaluate_every", "early_stopping", "metric")
)
"""Of a task, for the time that a step takes."""


def _multiply_adds(experiment: Experiment) -> int:
    """Of a batch's way through the network."""
    layers = experiment.network.layers
    return experiment.task.batch_size * sum(layer.multiply_adds() for layer in layers)


@torch.no_grad()
def step_seconds(experiment: Experiment, replicas: int, device: torch.device) -> float:
    """One seed's share of a step in which so many train together."""
    use_precision(experiment.precision, device)
    batch = experiment.task.batch_size
    train = _examples(experiment, 2 * batch, device)
    order = (Stream(0).at("pace").uniform((STEPS, replicas, batch)) * len(train)).long().to(device)
    with suitable_threads(replicas * batch * experiment.network.widest_product()):
        stepper = Stepper(
            experiment.rule, experiment.network, train, budget(experiment), range(replicas), "off"
        )
        sums = None
        for number in range(_WARM):
            sums = stepper.step(order[number], number, sums)
        _wait(device)
        start, done = time.perf_counter(), 0
        while done < STEPS and time.perf_counter() - start < _LONGEST_SECONDS:
            sums = stepper.step(order[done], _WARM + done, sums)
            _wait(device)
            done += 1
        return (time.perf_counter() - start) / done / replicas


def _examples(experiment: Experiment, count: int, device: torch.device) -> Split:
    stream, net = Stream(0).at("pace"), experiment.network
    x = stream.at("x").uniform((count, *net.in_shape)).to(device, PRECISIONS[experiment.precision])
    if experiment.task.targets == "values":
        return Split(x, stream.at("y").normal((count, net.classes)).to(device))
    y = (stream.at("y").uniform((count,)) * net.classes).long().to(device)
    return Split(x, y)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _file() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("bioplaus") / "paces.json"


def _read() -> dict[str, float]:
    try:
        content: Any = json.loads(_file().read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {k: v for k, v in content.items() if isinstance(v, float) and 0 < v < 1e6}
