"""One training run: a rule on a task's data, all seeds together as stacked replicas."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bioplaus.dataset import Split
from bioplaus.layers import Params
from bioplaus.network import Network
from bioplaus.probes import AlignmentProbe
from bioplaus.replicas import Replica, Rule, batched_predict, unstack
from bioplaus.rule import Batch, State
from bioplaus.stepper import Budget, Compile, Stepper
from bioplaus.streams import Stream, random_order

_REPORT_EVERY_SECONDS = 0.1

_EVALUATION_ELEMENTS = 2**24
"""Activities of one layer held at once in an evaluation, over all replicas."""


@dataclass(frozen=True)
class Splits:
    """The examples a run sees, scaled and on the device."""

    train: Split
    validation: Split | None
    test: Split | None


@dataclass
class Outcome:
    """What became of one seed."""

    seed: int
    metrics: dict[str, list[float | None]] = field(default_factory=dict)
    validation_accuracy: list[float | None] = field(default_factory=list)
    test_accuracy: list[float | None] = field(default_factory=list)
    alignment: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    diverged_epoch: int | None = None
    params: Params = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Where a run stands, told a few times a second; the numbers are the last epoch's means."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float | None
    validation_accuracy: float | None


class Trainer:
    """Trains the replicas of one rule; `train` runs it, `outcomes` are the facts."""

    def __init__(
        self,
        rule: Rule,
        net: Network,
        splits: Splits,
        budget: Budget,
        seeds: Sequence[int],
        compile: Compile = "off",
        each: Sequence[Replica] = (),
        probe: bool = True,
    ) -> None:
        """each: as for a Stepper. probe: compare updates with gradients after every epoch."""
        self.net, self.splits, self.budget, self.seeds = net, splits, budget, tuple(seeds)
        self.device = splits.train.x.device
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.stepper = Stepper(rule, net, splits.train, budget, seeds, compile, each)
        self._predict = batched_predict(rule, net)
        self._probe = (
            AlignmentProbe(rule, net, self.params, self._probe_batch(), seeds) if probe else None
        )
        self.steps_per_epoch = len(splits.train) // budget.batch_size
        self.outcomes = [Outcome(seed) for seed in seeds]
        self.threads = torch.get_num_threads()
        self.train_seconds = 0.0
        self.setup_seconds = 0.0
        self.evaluation_seconds = 0.0

    @property
    def params(self) -> Params:
        """All replicas' parameters, stacked."""
        return self.stepper.params

    @property
    def state(self) -> State:
        """All replicas' rule state, stacked."""
        return self.stepper.state

    @torch.no_grad()
    def train(self, report: Callable[[Progress], None] = lambda progress: None) -> list[Outcome]:
        """All epochs, or until no replica is left that has not diverged."""
        report(self._progress(0, 1))
        for epoch in range(1, self.budget.epochs + 1):
            start = time.perf_counter()
            sums = self._epoch(epoch, report)
            self._synchronize()
            middle = time.perf_counter()
            self._record(epoch, sums)
            self._synchronize()
            before, self.setup_seconds = self.setup_seconds, self._setup_seconds()
            self.train_seconds += middle - start - (self.setup_seconds - before)
            self.evaluation_seconds += time.perf_counter() - middle
            self._adapt()
            if all(outcome.diverged_epoch for outcome in self.outcomes):
                break
        for index, outcome in enumerate(self.outcomes):
            outcome.params = {k: v.cpu() for k, v in unstack(self.params, index).items()}
        return self.outcomes

    def batches(self, epoch: int) -> Tensor:
        """Indices of every batch of an epoch, (steps, R, batch size): each seed's own order.

        The remainder of the shuffled examples is dropped.
        """
        steps, size = self.steps_per_epoch, self.budget.batch_size
        count = len(self.splits.train)
        keys = torch.stack([Stream(seed).at("order", epoch).key for seed in self.seeds])
        kept = random_order(keys, count)[:, : steps * size].to(self.device)
        return kept.reshape(len(self.seeds), steps, size).movedim(1, 0)

    def _epoch(self, epoch: int, report: Callable[[Progress], None]) -> Tensor:
        """Train one epoch; sums over its steps of the rule's metrics, (M, R)."""
        sums: Tensor | None = None
        first = (epoch - 1) * self.steps_per_epoch
        told = time.perf_counter()
        for i, index in enumerate(self.batches(epoch), start=1):
            sums = self.stepper.step(index, first + i - 1, sums)
            if i == self.steps_per_epoch or time.perf_counter() - told > _REPORT_EVERY_SECONDS:
                report(self._progress(first + i, epoch))
                told = time.perf_counter()
        assert sums is not None  # an epoch has a step: Task.load_data sees to it
        return sums

    def _setup_seconds(self) -> float:
        return sum(program.setup_seconds for program in self.stepper.programs)

    def _adapt(self) -> None:
        """Let the rule look at the epoch's metrics, the worst of the replicas'."""
        alive = [o.metrics for o in self.outcomes if o.diverged_epoch is None]
        last = {name: [metrics[name][-1] for metrics in alive] for name in self.stepper.metrics}
        worst = {
            name: max(v for v in values if v is not None) for name, values in last.items() if values
        }
        if worst:
            self.stepper.rule = self.stepper.rule.adapted(worst)

    def _progress(self, step: int, epoch: int) -> Progress:
        alive = [o for o in self.outcomes if o.diverged_epoch is None]
        losses = [v for o in alive for v in o.metrics.get("loss", [])[-1:] if v is not None]
        accuracies = [a for o in alive for a in o.validation_accuracy[-1:] if a is not None]
        return Progress(
            step=step,
            steps=self.budget.epochs * self.steps_per_epoch,
            epoch=epoch,
            epochs=self.budget.epochs,
            loss=sum(losses) / len(losses) if losses else None,
            validation_accuracy=sum(accuracies) / len(accuracies) if accuracies else None,
        )

    def _record(self, epoch: int, sums: Tensor) -> None:
        """Evaluate, probe, and note who diverged: here alone the host waits for the device."""
        finite = torch.stack([t.flatten(1).isfinite().all(1) for t in self.params.values()])
        totals = dict(zip(self.stepper.metrics, sums, strict=True))
        means = {name: (total / self.steps_per_epoch).tolist() for name, total in totals.items()}
        validation = self.accuracy(self.splits.validation)
        test = self.accuracy(self.splits.test)
        measured = self._probe.measure(self.params, self.state) if self._probe else {}
        alignment = {
            reference: {name: tensor.tolist() for name, tensor in numbers.items()}
            for reference, numbers in measured.items()
        }
        healthy = (finite.all(0) & totals["loss"].isfinite()).tolist()
        for index, outcome in enumerate(self.outcomes):
            if outcome.diverged_epoch is None and not healthy[index]:
                outcome.diverged_epoch = epoch
            lost = outcome.diverged_epoch is not None
            for name, values in means.items():
                outcome.metrics.setdefault(name, []).append(values[index])
            outcome.validation_accuracy.append(
                None if lost or not validation else validation[index]
            )
            outcome.test_accuracy.append(None if lost or not test else test[index])
            for reference, numbers in alignment.items():
                curves = outcome.alignment.setdefault(reference, {})
                for name, values in numbers.items():
                    curves.setdefault(name, []).append(values[index])

    def accuracy(self, split: Split | None) -> list[float]:
        """Each replica's share of right answers on a split; [] where there is none."""
        if split is None:
            return []
        units = max(int(torch.Size(s).numel()) for s in self._shapes())
        chunk = max(1, _EVALUATION_ELEMENTS // (len(self.seeds) * units))
        right = torch.zeros(len(self.seeds), dtype=torch.int64, device=self.device)
        for x, y in zip(torch.split(split.x, chunk), torch.split(split.y, chunk), strict=True):
            output = self._predict(self.params, self.state, x)
            right += (output[..., : self.net.classes].argmax(-1) == y).sum(-1)
        return [count / len(split) for count in right.tolist()]

    def _shapes(self) -> list[tuple[int, ...]]:
        return [self.net.in_shape, *(layer.out_shape for layer in self.net.layers)]

    def _probe_batch(self) -> Batch:
        """The same training examples for every rule and seed."""
        order = Stream(0).at("probe").permutation(len(self.splits.train))
        return self.stepper.gather(order[: self.budget.batch_size].to(self.device))

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
