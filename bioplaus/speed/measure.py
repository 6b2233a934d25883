"""How fast the harness trains, beside the plain torch loop and beside what the machine can do.

Everything is timed in one process, a block of each in turn, several times round: a machine
that slows down slows all of them, and the ratios stand.
"""

from __future__ import annotations

import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.errors import UnsupportedError
from bioplaus.experiments.experiment import Experiment
from bioplaus.numerics.random_streams import Stream
from bioplaus.speed.plain_torch import eager_step
from bioplaus.system.device import PRECISIONS, suitable_threads, use_precision
from bioplaus.tasks.dataset import Split
from bioplaus.training.budget import budget
from bioplaus.training.cost import step_flops
from bioplaus.training.execution import Execution
from bioplaus.training.memory import peak_bytes
from bioplaus.training.operation_count import Operations, count
from bioplaus.training.stepper import Stepper

ROUNDS = 5
SECONDS_OF_A_ROW = 5.0
"""About: blocks of `measure` for a row and its share of the plain loop, without compiling."""
_EXAMPLES = 10_000
"""Synthetic ones, more than the caches hold for images: timing needs no real data."""
_OPTIMIZER_TENSORS = {"adam": 7, "adamw": 7, "sgd": 3, "rmsprop": 5}
"""Reads and writes of tensors as large as the parameters in a step of the optimizer."""


@dataclass(frozen=True)
class Ceilings:
    """What this machine did, measured just before, in the precision and on the threads used."""

    flops_per_second: float
    """Of square matrix products."""
    bytes_per_second: float
    """Of a copy in memory, reads and writes counted."""


@dataclass(frozen=True)
class Row:
    """One rule on one task with so many replicas. Times are medians over blocks of steps."""

    rule: str
    task: str
    replicas: int
    execution: str
    threads: int
    step_seconds: float
    """Of all replicas together."""
    seed_steps_per_second: float
    samples_per_second: float
    eager_steps_per_second: float | None
    """Of one network in the plain torch loop, always backprop; null where it has no such loop."""
    times_eager: float | None
    """seed_steps_per_second / eager_steps_per_second."""
    step_flops: int | None
    """Of one replica, counted."""
    floor_seconds: float | None
    """The longer of products at the measured peak and bytes at the measured bandwidth."""
    of_floor: float | None
    """floor_seconds / step_seconds: 1 is as fast as the machine allows."""
    of_peak: float | None
    """The share of the measured peak of products that the step's products reach."""
    peak_bytes: int | None
    setup_seconds: float
    """Tracing and compiling, once."""

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


@torch.no_grad()
def measure(
    experiment: Experiment,
    replicas: Sequence[int],
    execution: Execution,
    seconds: float = 0.4,
    watch: Callable[[str], None] = lambda what: None,
) -> list[Row]:
    """Time one experiment's steps at each number of replicas; `seconds` is one block's length.

    `watch` is told in a few words what is being done. UnsupportedError without classes.
    """
    refuse_without_classes(experiment)
    use_precision(experiment.precision, execution.device)
    train = _synthetic(experiment, execution.device)
    product = experiment.task.batch_size * experiment.network.widest_product()
    loops = [_Harness(experiment, train, r, execution) for r in replicas]
    eager = _eager_loops(experiment, train)
    for harness in loops:
        watch(f"{experiment.rule.name}, {harness.replicas} replicas: preparing")
        with suitable_threads(harness.replicas * product):
            harness.threads = torch.get_num_threads()
            harness.prepare()
            harness.ceilings = ceilings(harness.dtype, execution.device, harness.size)
    for number in range(ROUNDS):
        watch(f"{experiment.rule.name} on {experiment.task.name}: round {number + 1} of {ROUNDS}")
        for loop in (*eager, *loops):
            loop.block(seconds)
    plain = max((1 / loop.median for loop in eager), default=None)
    return [harness.row(plain) for harness in loops]


def ceilings(dtype: torch.dtype, device: torch.device, size: int) -> Ceilings:
    """Measured now; the copy is of as many bytes as a step's tensors hold, caches and all."""
    matrix = torch.randn(1024, 1024, dtype=dtype, device=device)
    product = _best(lambda: matrix @ matrix, device)
    source = torch.empty(max(size // 2, 2**16), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = _best(lambda: target.copy_(source), device)
    return Ceilings(2 * 1024**3 / product, 2 * source.numel() / copy)


def _best(call: Callable[[], object], device: torch.device) -> float:
    """The quickest of several calls, in seconds."""
    call()
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(4):
            call()
        _wait(device)
        best = min(best, (time.perf_counter() - start) / 4)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Loop(ABC):
    """Something that takes steps, timed in blocks."""

    threads = 1

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._blocks: list[float] = []
        self._each = 0.0

    @abstractmethod
    def step(self) -> None:
        """Take one."""

    def block(self, seconds: float) -> None:
        """Steps for about so long; the mean time of one is kept."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            self._time(2)  # caches and threads are another loop's
            steps = max(2, round(seconds / self._time(3)))
            self._blocks.append(self._time(steps))
        finally:
            torch.set_num_threads(before)

    def _time(self, steps: int) -> float:
        _wait(self._device)
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        _wait(self._device)
        return (time.perf_counter() - start) / steps

    @property
    def median(self) -> float:
        """Seconds of a step."""
        return statistics.median(self._blocks)


def refuse_without_classes(experiment: Experiment) -> None:
    """UnsupportedError for a task whose targets the plain loop beside it does not make."""
    if "classes" not in experiment.task.gives:
        raise UnsupportedError(
            f"{experiment.task.name} has no classes, which is what the plain torch loop learns "
            "that speed is compared with; choose another task with --task"
        )


class _Eager(_Loop):
    """The plain torch loop, one network."""

    def __init__(self, experiment: Experiment, train: Split, threads: int) -> None:
        super().__init__(train.x.device)
        self.threads = threads
        y = F.one_hot(train.y, experiment.network.classes).to(train.x.dtype)
        self._step = eager_step(experiment.network, experiment.task.optimizer, train.x, y)
        self._order = _order(experiment, train, 1)[:, 0]
        self._number = 0

    def step(self) -> None:
        self._step(self._order[self._number % len(self._order)])
        self._number += 1


def _eager_loops(experiment: Experiment, train: Split) -> list[_Loop]:
    """On one thread and on all: the faster is what the harness is compared with."""
    try:
        return [_Eager(experiment, train, n) for n in sorted({1, torch.get_num_threads()})]
    except UnsupportedError:
        return []


class _Harness(_Loop):
    """The harness's own step."""

    ceilings: Ceilings

    def __init__(
        self, experiment: Experiment, train: Split, replicas: int, execution: Execution
    ) -> None:
        super().__init__(train.x.device)
        self.replicas, self.dtype = replicas, train.x.dtype
        self._experiment = experiment
        rule, seeds = experiment.rule.watched(), range(replicas)
        self._stepper = Stepper(
            rule, experiment.network, train, budget(experiment), seeds, execution.compile
        )
        self._order = _order(experiment, train, replicas)
        self._number = 0
        self._sums: Tensor | None = None

    def prepare(self) -> None:
        """The first steps of each variant, in which all is traced and compiled."""
        for _ in range(8):
            self.step()

    @property
    def size(self) -> int:
        """Bytes of the tensors of a step."""
        return peak_bytes(self._stepper) or sum(t.nbytes for t in self._stepper.tensors())

    def step(self) -> None:
        index = self._order[self._number % len(self._order)]
        self._sums = self._stepper.step(index, self._number, self._sums)
        self._number += 1

    def row(self, eager: float | None) -> Row:
        """What was measured; eager is the plain loop's steps a second."""
        task, second = self._experiment.task, self.median
        rate = self.replicas / second
        program = self._stepper.programs[0]
        done = count(program.graph) if program.graph else None
        floor = self._floor(done) if done else None
        peak = self.ceilings.flops_per_second
        return Row(
            rule=self._experiment.rule.name,
            task=task.name,
            replicas=self.replicas,
            execution=program.how,
            threads=self.threads,
            step_seconds=second,
            seed_steps_per_second=rate,
            samples_per_second=rate * task.batch_size,
            eager_steps_per_second=eager,
            times_eager=rate / eager if eager else None,
            step_flops=step_flops(self._stepper),
            floor_seconds=floor,
            of_floor=floor / second if floor else None,
            of_peak=done.flops / second / peak if done else None,
            peak_bytes=peak_bytes(self._stepper),
            setup_seconds=sum(p.setup_seconds for p in self._stepper.programs),
        )

    def _floor(self, done: Operations) -> float:
        weights = sum(t.nbytes for t in self._stepper.params.values())
        moved = weights * _OPTIMIZER_TENSORS[self._experiment.optimizer.name]
        moved += done.product_bytes
        ceiling = self.ceilings
        return max(done.flops / ceiling.flops_per_second, moved / ceiling.bytes_per_second)


def _synthetic(experiment: Experiment, device: torch.device) -> Split:
    stream = Stream(0).at("speed")
    net, dtype = experiment.network, PRECISIONS[experiment.precision]
    x = stream.at("x").uniform((_EXAMPLES, *net.in_shape)).to(device, dtype)
    y = (stream.at("y").uniform((_EXAMPLES,)) * net.classes).long().to(device)
    return Split(x, y)


def _order(experiment: Experiment, train: Split, replicas: int) -> Tensor:
    """Batches of random examples, (steps, R, batch size)."""
    shape = (64, replicas, experiment.task.batch_size)
    return (Stream(0).at("speed", "order").uniform(shape) * len(train)).long().to(train.x.device)
