"""One training run: a rule on a task's data, all seeds together as stacked replicas."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from bioplaus.dataset import Split
from bioplaus.errors import PluginError
from bioplaus.layers import Params
from bioplaus.network import Network
from bioplaus.optim import OptimizerSpec
from bioplaus.probes import AlignmentProbe
from bioplaus.replicas import (
    NoiseSource,
    Rule,
    apart,
    batched_predict,
    batched_update,
    stack,
    stacked_initial,
    unstack,
)
from bioplaus.rule import Batch, State
from bioplaus.streams import Stream

_EVALUATION_ELEMENTS = 2**24
"""Activities of one layer held at once in an evaluation, over all replicas."""


@dataclass(frozen=True)
class Splits:
    """The examples a run sees, scaled and on the device."""

    train: Split
    validation: Split | None
    test: Split | None


@dataclass(frozen=True)
class Budget:
    """How long and how fast to learn."""

    batch_size: int
    epochs: int
    optimizer: OptimizerSpec
    aux_optimizer: OptimizerSpec | None


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
    """Where a run stands, told after every step; the numbers are the last epoch's means."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float | None
    validation_accuracy: float | None


class Trainer:
    """Trains the replicas of one rule; `train` runs it, `outcomes` are the facts."""

    def __init__(
        self, rule: Rule, net: Network, splits: Splits, budget: Budget, seeds: Sequence[int]
    ) -> None:
        self.rule, self.net, self.splits, self.budget = rule, net, splits, budget
        self.seeds = tuple(seeds)
        x = splits.train.x
        self._dtype, self._device = x.dtype, x.device
        self.params, self.state = stacked_initial(rule, net, seeds, self._dtype, self._device)
        self._optimizer = budget.optimizer.build(self.params.values())
        if self.state.aux and budget.aux_optimizer is None:
            raise PluginError(
                f"the rule {rule.name!r} has auxiliary parameters but no aux_optimizer for them"
            )
        self._aux_optimizer = (
            budget.aux_optimizer.build(self.state.aux.values())
            if budget.aux_optimizer and self.state.aux
            else None
        )
        specs = rule.noise(net, budget.batch_size)
        self._noise = NoiseSource(specs, seeds, self._dtype, self._device)
        self._update = batched_update(rule, net)
        self._predict = batched_predict(rule, net)
        self._probe = AlignmentProbe(rule, net, self.params, self._probe_batch(), seeds)
        self.steps_per_epoch = len(splits.train) // budget.batch_size
        self.outcomes = [Outcome(seed) for seed in seeds]
        self.threads = torch.get_num_threads()
        self.train_seconds = 0.0
        self.evaluation_seconds = 0.0

    @torch.no_grad()
    def train(self, report: Callable[[Progress], None] = lambda progress: None) -> list[Outcome]:
        """All epochs, or until no replica is left that has not diverged."""
        for epoch in range(1, self.budget.epochs + 1):
            start = time.perf_counter()
            sums = self._epoch(epoch, report)
            self._synchronize()
            middle = time.perf_counter()
            self._record(epoch, sums)
            self._synchronize()
            self.train_seconds += middle - start
            self.evaluation_seconds += time.perf_counter() - middle
            if all(outcome.diverged_epoch for outcome in self.outcomes):
                break
        for index, outcome in enumerate(self.outcomes):
            outcome.params = {k: v.cpu() for k, v in unstack(self.params, index).items()}
        return self.outcomes

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """One update of all replicas from a stacked batch; step numbers start at 0."""
        every = self.rule.refresh_every
        if every and number % every == 0:
            self._refresh(batch, number)
        update = self._update(self.params, self.state, batch, self._noise.at(number))
        # the optimizers write into parameters: nothing a rule returns may share their storage
        owned = [*self.params.values(), *self.state.aux.values()]
        aux_grads, memory = apart(update.aux_grads, owned), apart(update.memory, owned)
        for name, grad in apart(update.grads, owned).items():
            penalty = update.penalty.get(name)
            self.params[name].grad = grad if penalty is None else grad + penalty
        self._optimizer.step()
        if self._aux_optimizer is not None:
            for name, grad in aux_grads.items():
                self.state.aux[name].grad = grad
            self._aux_optimizer.step()
        self.state = State(self.state.aux, memory)
        return update.metrics

    def batches(self, epoch: int) -> Tensor:
        """Indices of every batch of an epoch, (steps, R, batch size): each seed's own order.

        The remainder of the shuffled examples is dropped.
        """
        steps, size = self.steps_per_epoch, self.budget.batch_size
        count = len(self.splits.train)
        orders = [Stream(s).at("order", epoch).permutation(count) for s in self.seeds]
        kept = torch.stack(orders)[:, : steps * size].to(self._device)
        return kept.reshape(len(self.seeds), steps, size).movedim(1, 0)

    def gather(self, index: Tensor) -> Batch:
        """The examples at those indices, with one-hot targets."""
        x, y = self.splits.train.x, self.splits.train.y
        return Batch(x[index], F.one_hot(y[index], self.net.classes).to(self._dtype))

    def _epoch(self, epoch: int, report: Callable[[Progress], None]) -> dict[str, Tensor]:
        """Train one epoch; sums over its steps of the rule's metrics, each (R,)."""
        sums: dict[str, Tensor] = {}
        first = (epoch - 1) * self.steps_per_epoch
        for i, index in enumerate(self.batches(epoch)):
            metrics = self.step(self.gather(index), first + i)
            sums = {k: v + sums[k] if sums else v for k, v in metrics.items()}
            report(self._progress(first + i + 1, epoch))
        return sums

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

    def _record(self, epoch: int, sums: dict[str, Tensor]) -> None:
        """Evaluate, probe, and note who diverged: here alone the host waits for the device."""
        finite = torch.stack([t.flatten(1).isfinite().all(1) for t in self.params.values()])
        means = {name: (total / self.steps_per_epoch).tolist() for name, total in sums.items()}
        validation = self.accuracy(self.splits.validation)
        test = self.accuracy(self.splits.test)
        alignment = {
            reference: {name: tensor.tolist() for name, tensor in numbers.items()}
            for reference, numbers in self._probe.measure(self.params, self.state).items()
        }
        healthy = (finite.all(0) & sums["loss"].isfinite()).tolist()
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
        right = torch.zeros(len(self.seeds), dtype=torch.int64, device=self._device)
        for x, y in zip(torch.split(split.x, chunk), torch.split(split.y, chunk), strict=True):
            output = self._predict(self.params, self.state, x)
            right += (output[..., : self.net.classes].argmax(-1) == y).sum(-1)
        return [count / len(split) for count in right.tolist()]

    def _shapes(self) -> list[tuple[int, ...]]:
        return [self.net.in_shape, *(layer.out_shape for layer in self.net.layers)]

    def _probe_batch(self) -> Batch:
        """The same training examples for every rule and seed."""
        order = Stream(0).at("probe").permutation(len(self.splits.train))
        return self.gather(order[: self.budget.batch_size].to(self._device))

    def _refresh(self, batch: Batch, number: int) -> None:
        """The rule's host work, one replica after the other."""
        states = [
            self.rule.refresh(
                self.net,
                unstack(self.params, i),
                State(unstack(self.state.aux, i), unstack(self.state.memory, i)),
                Batch(batch.x[i], batch.y[i]),
                Stream(seed).at("refresh", number),
            )
            for i, seed in enumerate(self.seeds)
        ]
        for name, tensor in stack([s.aux for s in states]).items():
            self.state.aux[name].copy_(tensor)
        self.state = State(self.state.aux, stack([s.memory for s in states]))

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
