"""Whole runs beside the plain torch loop doing the same work: what a user waits for.

Both train on the task's data, and after every epoch both take the accuracy on the
validation and the test split and compare an update with the gradient on one batch. Epochs of
the loop, timed before and after each run in the same process, stand beside the run's own;
what comes once (start, tracing, compiling) is a column of its own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioplaus.errors import UnsupportedError
from bioplaus.experiments.experiment import Experiment
from bioplaus.network.network import Network
from bioplaus.speed.measure import refuse_without_classes
from bioplaus.speed.plain_torch import eager_step, sequential
from bioplaus.system.device import suitable_threads
from bioplaus.tasks.dataset import Split
from bioplaus.training.budget import budget
from bioplaus.training.execution import Execution
from bioplaus.training.groups import prepared
from bioplaus.training.progress import Progress, Splits
from bioplaus.training.trainer import Trainer

_EAGER_EPOCHS = 3
"""Before and after every run."""
_FIRST = 2
"""Epochs of a run that are not counted: in the first all is traced and compiled."""


@dataclass(frozen=True)
class RunRow:
    """One rule on one task with so many seeds, from the first epoch to the last."""

    rule: str
    task: str
    replicas: int
    execution: str
    epochs: int
    epoch_seconds: float
    """Median, evaluation and probe included."""
    evaluation_share: float
    """Of the counted epochs' time."""
    seed_steps_per_second: float
    eager_steps_per_second: float | None
    """Of one network in the plain loop, always backprop; null where it has no such loop."""
    times_eager: float | None
    once_seconds: float
    """What a run takes beside so many epochs at that pace: start, tracing, compiling."""

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def measure_runs(
    experiment: Experiment,
    replicas: Sequence[int],
    execution: Execution,
    watch: Callable[[str], None] = lambda what: None,
) -> list[RunRow]:
    """One run of the experiment for each number of replicas; `watch` is told what is done.

    On the task's own data and for its number of epochs, of which there must be more than two.
    """
    refuse_without_classes(experiment)
    if experiment.task.epochs <= _FIRST:
        raise UnsupportedError(
            f"a run of more than {_FIRST} epochs is needed: --set task.epochs=20"
        )
    splits = prepared(experiment, experiment.task.load_data(), execution.device)
    found = []
    for number in replicas:
        watch(f"{experiment.rule.name} on {experiment.task.name}: {number} seeds")
        before = _eager_epochs(experiment, splits)
        row = _run(experiment, splits, number, execution)
        plain = [*before, *_eager_epochs(experiment, splits)]
        found.append(row(statistics.median(plain) if plain else None))
    return found


def _run(
    experiment: Experiment, splits: Splits, number: int, execution: Execution
) -> Callable[[float | None], RunRow]:
    """A run, timed; its row once the plain loop's seconds for an epoch are known."""
    started = time.perf_counter()
    ends: list[float] = []
    net, task = experiment.network, experiment.task
    with suitable_threads(number * task.batch_size * net.widest_product()):
        trainer = Trainer(
            experiment.rule, net, splits, budget(experiment), range(number), execution.compile
        )

        def watch(progress: Progress) -> None:
            if progress.step == progress.epoch * trainer.steps_per_epoch:
                ends.append(time.perf_counter())

        trainer.train(watch)
    ends.append(time.perf_counter())
    # an epoch ends with its steps, so that between two ends lie one epoch's measurements too
    counted = [b - a for a, b in zip(ends[_FIRST - 1 :], ends[_FIRST:-1], strict=False)]
    epoch = statistics.median(counted or [ends[-1] - ends[-2]])
    steps = trainer.steps_per_epoch
    rate = number * steps / epoch
    evaluation = trainer.evaluation_seconds / task.epochs

    def row(plain: float | None) -> RunRow:
        eager = None if plain is None else steps / plain
        return RunRow(
            rule=experiment.rule.name,
            task=task.name,
            replicas=number,
            execution=trainer.stepper.programs[0].how,
            epochs=task.epochs,
            epoch_seconds=epoch,
            evaluation_share=evaluation / epoch,
            seed_steps_per_second=rate,
            eager_steps_per_second=eager,
            times_eager=None if eager is None else rate / eager,
            once_seconds=ends[-1] - started - task.epochs * epoch,
        )

    return row


def _eager_epochs(experiment: Experiment, splits: Splits) -> list[float]:
    """Seconds of some epochs of the plain loop; [] where the network is none of torch's."""
    net = experiment.network
    try:
        model = sequential(net)
    except UnsupportedError:
        return []
    loop = _PlainLoop(experiment, splits, model)
    with suitable_threads(experiment.task.batch_size * net.widest_product()):
        loop.epoch()
        return [_timed(loop.epoch) for _ in range(_EAGER_EPOCHS)]


def _timed(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class _PlainLoop:
    """An epoch as one writes it in torch, evaluations and all."""

    def __init__(self, experiment: Experiment, splits: Splits, model: nn.Sequential) -> None:
        self._net: Network = experiment.network
        train = splits.train
        self._size = experiment.task.batch_size
        self._x, self._y = train.x, F.one_hot(train.y, self._net.classes).to(train.x.dtype)
        self._model = model.to(device=train.x.device, dtype=train.x.dtype)
        self._held = [s for s in (splits.validation, splits.test) if s is not None]
        self._step = eager_step(self._net, experiment.task.optimizer, self._x, self._y, self._model)

    def epoch(self) -> None:
        """All batches once, in a new order; then accuracies, and a comparison of gradients."""
        order = torch.randperm(len(self._x), device=self._x.device)
        steps = len(order) // self._size
        for index in order[: steps * self._size].reshape(steps, self._size):
            self._step(index)
        for split in self._held:
            self._accuracy(split)
        index = order[: self._size]
        for ours, theirs in zip(self._gradient(index), self._gradient(index), strict=True):
            float(F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0))
            float(ours.norm() / theirs.norm())

    @torch.no_grad()
    def _accuracy(self, split: Split) -> float:
        answers = self._model(split.x)[:, : self._net.classes].argmax(-1)
        return float((answers == split.y).double().mean())

    def _gradient(self, index: Tensor) -> tuple[Tensor, ...]:
        loss = self._net.loss.value(self._model(self._x[index]), self._y[index])
        return torch.autograd.grad(loss, list(self._model.parameters()))
