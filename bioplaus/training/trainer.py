"""One training run: a rule on a task's data, all seeds together as stacked replicas."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bioplaus.learning.batching import Replica, Rule, unstack
from bioplaus.learning.prediction import try_prediction
from bioplaus.learning.rule import LearningRule, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream, random_order
from bioplaus.system.interruption import Interruption
from bioplaus.training.after_epoch import AfterEpoch
from bioplaus.training.budget import Budget
from bioplaus.training.checkpoint import Checkpoints, Tensors, part_of
from bioplaus.training.memory import restart_peak
from bioplaus.training.progress import Progress, Splits, progress
from bioplaus.training.seed_outcome import Outcome, from_tensors, to_tensors, worst_of
from bioplaus.training.stepper import Compile, Stepper
from bioplaus.training.traced_step import Program

_REPORT_EVERY_SECONDS = 0.1


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
        measured: Compile | None = None,
    ) -> None:
        """each, measured: as for a Stepper. probe: compare updates with gradients each epoch."""
        self.net, self.splits, self.budget, self.seeds = net, splits, budget, tuple(seeds)
        self.device = splits.train.x.device
        restart_peak(self.device)
        self.stepper = Stepper(
            rule.watched(), net, splits.train, budget, seeds, compile, each, measured
        )
        try_prediction(rule, net, self.params, self.state, splits.train.x[:2], self.seeds)
        self._after_epoch = AfterEpoch(
            rule, net, splits, budget, self.stepper, compile != "off", probe
        )
        self.steps_per_epoch = budget.lesson.steps(splits.train, budget.batch_size)
        self.outcomes = [Outcome(seed) for seed in seeds]
        self.threads = torch.get_num_threads()
        self.resumed_at: list[int] = []
        """The steps after which the training was resumed from a checkpoint."""
        self.notes: list[str] = []
        """What was not as it should be, without a change of results, one line each."""
        self._stepping_seconds = self._measuring_seconds = self._setup_before = self._lap = 0.0
        self._step = self.epochs_done = 0
        self._sums: Tensor | None = None
        self._start: Tensors = {}
        """The replicas at the start of the epoch, for a rule that may take it again."""
        self._redone: list[dict[str, float]] = []
        """What made the rule take this epoch again, each time."""

    @property
    def params(self) -> Params:
        """All replicas' parameters, stacked."""
        return self.stepper.params

    @property
    def state(self) -> State:
        """All replicas' rule state, stacked."""
        return self.stepper.state

    @property
    def kept(self) -> Params:
        """The best networks by validation, stacked, of a task that stops early."""
        return self._after_epoch.snapshot()

    @torch.no_grad()
    def train(
        self,
        report: Callable[[Progress], None] = lambda progress: None,
        checkpoints: Checkpoints | None = None,
    ) -> list[Outcome]:
        """All epochs, or until each replica has diverged or stopped early.

        With checkpoints it goes on from the last one, with the same result to the last bit as
        if it had never stopped, and writes them. On SIGTERM and Ctrl-C it writes one, too.
        """
        found = checkpoints.latest() if checkpoints else None
        if found is not None:
            self._restore(found)
        report(self._progress(self._step, self.epochs_done + 1))
        with Interruption() as interruption:
            while not self._over:
                self._epoch(report, checkpoints, interruption)
        self._lap = time.perf_counter()
        params, state = self._after_epoch.end(self.outcomes)
        self._synchronize()
        self._measuring_seconds += self._passed()
        for index, outcome in enumerate(self.outcomes):
            parts = [
                {name: tensor.cpu() for name, tensor in unstack(part, index).items()}
                for part in (params, *state)
            ]
            outcome.params, outcome.state = parts[0], State(*parts[1:])
        return self.outcomes

    @property
    def _over(self) -> bool:
        ended = all(outcome.is_over for outcome in self.outcomes)
        return ended or self.epochs_done == self.budget.epochs

    def batches(self, epoch: int) -> Tensor:
        """Indices of every batch of an epoch, (steps, R, batch size): each seed's own order.

        The remainder of the shuffled examples is dropped.
        """
        steps, size = self.steps_per_epoch, self.budget.batch_size
        own = self.budget.lesson.of_epoch(self.splits.train, epoch)
        count = len(self.splits.train) if own is None else len(own)
        keys = torch.stack([Stream(seed).at("order", epoch).key for seed in self.seeds])
        kept = random_order(keys, count)[:, : steps * size]
        kept = (kept if own is None else own[kept]).to(self.device)
        return kept.reshape(len(self.seeds), steps, size).movedim(1, 0)

    def _epoch(
        self,
        report: Callable[[Progress], None],
        checkpoints: Checkpoints | None,
        interruption: Interruption,
    ) -> None:
        """The rest of an epoch, and what is measured after it."""
        epoch = self.epochs_done + 1
        last = epoch * self.steps_per_epoch
        if not self._start and type(self.stepper.rule).redone is not LearningRule.redone:
            self._start = {name: t.clone() for name, t in self.stepper.held().items()}
        self._lap = told = time.perf_counter()
        for index in self.batches(epoch)[self._step - last :]:
            self._sums = self.stepper.step(index, self._step, self._sums)
            self._step += 1
            if self._step == last:
                break
            if time.perf_counter() - told > _REPORT_EVERY_SECONDS:
                report(self._progress(self._step, epoch))
                told = time.perf_counter()
            self._checkpoint(checkpoints, interruption)
        assert self._sums is not None  # an epoch has a step: Task.load_data sees to it
        self._synchronize()
        self._stepping_seconds += self._passed()
        if self._redo(self._sums):
            self._step, self._sums = last - self.steps_per_epoch, None
            return
        self._record(epoch, self._sums)
        report(self._progress(self._step, epoch))
        self._synchronize()
        self._measuring_seconds += self._passed()
        self._adapt(epoch)
        self._sums, self.epochs_done, self._start = None, epoch, {}
        self._redone.clear()
        if not self._over:
            self._checkpoint(checkpoints, interruption, epoch_ended=True)

    def _redo(self, sums: Tensor) -> bool:
        """Whether the rule takes the epoch again, from its start: it then stands there."""
        if not self._start:
            return False
        # one that has diverged only now may have done so for want of accuracy
        alive = [i for i, outcome in enumerate(self.outcomes) if not outcome.is_over]
        worst = (sums[:, alive] / self.steps_per_epoch).amax(1).tolist()
        metrics = dict(zip(self.stepper.metrics, worst, strict=True))
        stronger = self.stepper.rule.redone(metrics)
        if stronger is None:
            return False
        self.stepper.rule = stronger
        self.stepper.put_back(self._start)
        self._redone.append(metrics)
        return True

    def _checkpoint(
        self, checkpoints: Checkpoints | None, interruption: Interruption, epoch_ended: bool = False
    ) -> None:
        """Write one where it is time to, or the process is to stop: it then stops."""
        if checkpoints and (interruption.requested or checkpoints.due(epoch_ended)):
            if not epoch_ended:
                self._stepping_seconds += self._passed()
            checkpoints.save(self._snapshot())
            if checkpoints.problem and checkpoints.problem not in self.notes:
                self.notes.append(checkpoints.problem)
            self._passed()
        if interruption.requested:
            interruption.obey()

    def _snapshot(self) -> Tensors:
        """All that the rest of the training depends on."""
        seconds = [self.train_seconds, self.setup_seconds, self.evaluation_seconds]
        return {
            "step": torch.tensor(self._step),
            "seconds": torch.tensor(seconds, dtype=torch.float64),
            "resumed_at": torch.tensor(self.resumed_at, dtype=torch.int64),
            **({} if self._sums is None else {"sums": self._sums}),
            **{
                f"redone/{i}/{name}": torch.tensor(value, dtype=torch.float64)
                for i, metrics in enumerate(self._redone)
                for name, value in metrics.items()
            },
            **{f"start/{name}": t for name, t in self._start.items()},
            **{f"outcomes/{name}": t for name, t in to_tensors(self.outcomes).items()},
            **{f"kept/{name}": t for name, t in self._after_epoch.snapshot().items()},
            **{f"stepper/{name}": t for name, t in self.stepper.snapshot().items()},
        }

    def _restore(self, snapshot: Tensors) -> None:
        """Go on from a snapshot, before any step was taken."""
        self._step = int(snapshot["step"])
        seconds = snapshot["seconds"].tolist()
        self._stepping_seconds, self._setup_before, self._measuring_seconds = seconds
        self.resumed_at = [*snapshot["resumed_at"].tolist(), self._step]
        self._sums = snapshot["sums"].to(self.device) if "sums" in snapshot else None
        self.outcomes = from_tensors(part_of(snapshot, "outcomes/"), self.seeds)
        self.stepper.restore(part_of(snapshot, "stepper/"))
        self._after_epoch.restore(part_of(snapshot, "kept/"), self.device)
        self.epochs_done = self._step // self.steps_per_epoch
        for epoch in range(1, self.epochs_done + 1):
            self._adapt(epoch)
        self._start = {k: t.to(self.device) for k, t in part_of(snapshot, "start/").items()}
        redone = {name: float(t) for name, t in part_of(snapshot, "redone/").items()}
        while metrics := part_of(redone, f"{len(self._redone)}/"):
            self._redone.append(metrics)
            self.stepper.rule = self.stepper.rule.redone(metrics) or self.stepper.rule

    def _passed(self) -> float:
        """Seconds since this was asked last."""
        before, self._lap = self._lap, time.perf_counter()
        return self._lap - before

    @property
    def train_seconds(self) -> float:
        """What steps took, tracing and compiling them apart."""
        return self._stepping_seconds - _setup(self.stepper.programs)

    @property
    def evaluation_seconds(self) -> float:
        """What accuracies and probes took, tracing and compiling them apart."""
        return self._measuring_seconds - _setup(self.stepper.measurements)

    @property
    def setup_seconds(self) -> float:
        """What tracing and compiling took."""
        return self._setup_before + _setup([*self.stepper.programs, *self.stepper.measurements])

    def _adapt(self, epoch: int) -> None:
        """Let the rule look at an epoch's metrics, the worst of the replicas'."""
        if worst := worst_of(self.outcomes, epoch):
            self.stepper.rule = self.stepper.rule.adapted(worst)

    def _progress(self, step: int, epoch: int) -> Progress:
        steps = self.budget.epochs * self.steps_per_epoch
        return progress(self.outcomes, step, steps, epoch, self.budget.epochs)

    def _record(self, epoch: int, sums: Tensor) -> None:
        """Evaluate, probe, and note who diverged."""
        totals = dict(zip(self.stepper.metrics, sums, strict=True))
        means = {name: (total / self.steps_per_epoch).tolist() for name, total in totals.items()}
        self._after_epoch(self.outcomes, epoch, means, totals["loss"].isfinite().tolist())

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _setup(programs: Sequence[Program]) -> float:
    return sum(program.setup_seconds for program in programs)
