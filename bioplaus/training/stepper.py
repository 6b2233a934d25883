"""One step of training for all replicas: gather the batch, ask the rule, apply the update.

What a step computes up to the optimizers is one pure function of tensors, and so one
program for each variant of the rule; the optimizers are torch's, fused, on the stacked
parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.fx import GraphModule

from bioplaus.learning.answers import noise_of, resting_at, rule_from, variant_at
from bioplaus.learning.batching import NoiseSource, Replica, Rule, differing_options
from bioplaus.learning.rule import Batch, NoiseSpec, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.tasks.dataset import Split
from bioplaus.training import cuda_graph
from bioplaus.training.budget import Budget
from bioplaus.training.compiled_graph import is_kept
from bioplaus.training.operation_count import Work, count, dispatch_saving
from bioplaus.training.replicas import Replicas
from bioplaus.training.step_drivers import Direct, Driver, InPlace
from bioplaus.training.step_function import step_function
from bioplaus.training.traced_step import Function, Program, Untraced

Compile = Literal["auto", "on", "off"]
"""Whether steps are compiled: where it is likely to repay its time, always, or never."""


MOST_VARIANTS = 64
"""Of a rule that are traced in a training."""


class Stepper:
    """The replicas of one rule, and the way to take them a step further."""

    def __init__(
        self,
        rule: Rule,
        net: Network,
        train: Split,
        budget: Budget,
        seeds: Sequence[int],
        compile: Compile = "off",
        each: Sequence[Replica] = (),
        measured: Compile | None = None,
    ) -> None:
        """each: where replicas differ in more than the seed, what each of them is. measured:
        whether what runs once an epoch is compiled; None as steps are."""
        self._rule, self.net, self.seeds = rule_from(rule, rule), net, tuple(seeds)
        dtype, device = train.x.dtype, train.x.device
        self._examples = Split(train.x, budget.lesson.targets(train, net))
        self._lesson = budget.lesson
        self._replicas = Replicas(rule, net, budget, self.seeds, dtype, device, each)
        self._options = {
            name: torch.tensor(values, dtype=dtype, device=device)
            for name, values in (differing_options(each) if each else {}).items()
        }
        size = budget.batch_size
        self._schedule, self._epochs = budget.schedule, budget.epochs
        self._steps_per_epoch = budget.lesson.steps(train, size)
        rows = budget.lesson.rows(size)
        layers = {n: NoiseSpec(s, "uniform") for n, s in net.uniform_shapes(rows).items()}
        self.noise = NoiseSource({**noise_of(rule, net, rows), **layers}, seeds, dtype, device)
        self._drawn = budget.lesson.drawn(train, size, seeds)
        self._drawn_once = budget.lesson.drawn(train, size, [0], "probe views")
        self._of_steps = Decision(compile, budget.epochs * self._steps_per_epoch)
        self._of_measurements = Decision(measured or compile, budget.evaluations)
        self._programs: dict[Rule, Program] = {}
        self._untraced = Untraced(
            f"`variant` or `adapted` has returned more than {MOST_VARIANTS} objects; make each "
            "variant once and return the same object again, since each is traced for itself"
        )
        self.measurements: list[Program] = []
        """Programs that run once an epoch."""
        self._work_before = Work()
        self._driver: Driver = (
            InPlace(self._replicas, self._examples, capture=compile != "off")
            if cuda_graph.replays(device)
            else Direct(self._replicas, self._examples)
        )

    @property
    def rule(self) -> Rule:
        """The rule as it is in this epoch."""
        return self._rule

    @rule.setter
    def rule(self, answer: Rule) -> None:
        self._rule = rule_from(self._rule, answer)

    def step(self, index: Tensor, number: int, sums: Tensor | None) -> Tensor:
        """One update of all replicas; the sums (M, R) of the metrics so far, with this step's.

        index: each replica's examples, (R, batch size). number: of the step, from 0.
        """
        every = self.rule.refresh_every
        if every and number % every == 0:
            at = torch.tensor(number, device=index.device)
            self._replicas.refresh(self._shown(*self.gather(index), at), number)
        if self._schedule is not None:
            self._replicas.scale_rates(
                self._schedule.factor(number, self._steps_per_epoch, self._epochs)
            )
        rule = variant_at(self.rule, number)
        resting = resting_at(rule, self.net, number, self._replicas.trained, self.state)
        return self._driver.step(self._program(rule), index, number, sums, resting)

    def _program(self, rule: Rule) -> Program:
        """The rule's step as a program, traced once; beyond `MOST_VARIANTS` of them, one that
        traces and keeps nothing: a rule that makes a new object for each step ends there."""
        if rule not in self._programs and len(self._programs) < MOST_VARIANTS:
            self._programs[rule] = Program(self._function(rule), self._of_steps)
        if rule in self._programs:
            return self._programs[rule]
        return self._untraced.of(self._function(rule))

    @property
    def params(self) -> Params:
        """All replicas' parameters, running statistics among them, stacked."""
        return self._replicas.params

    @property
    def state(self) -> State:
        """All replicas' rule state, stacked."""
        return self._replicas.state

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what the rule reports, after the first step."""
        return self.programs[0].names

    def measurement(self, function: Function) -> Program:
        """A program that runs once an epoch, compiled where that repays itself."""
        program = Program(function, self._of_measurements)
        self.measurements.append(program)
        return program

    def gather(self, index: Tensor) -> Batch:
        """The examples at those indices, as they are, and their targets."""
        return Batch(self._examples.x[index], self._examples.y[index])

    def probe_batch(self, index: Tensor) -> Batch:
        """A batch of the examples at those indices, (N,), shown as no step shows them."""
        shown = self._lesson.show(*self.gather(index[None]), self._drawn_once.at(0))
        return Batch(shown.x[0], shown.y[0])

    def _shown(self, x: Tensor, y: Tensor, number: Tensor) -> Batch:
        """The batches of a step, of each replica's examples, (R, N, ...)."""
        return self._lesson.show(x, y, self._drawn.at(number))

    @property
    def not_captured(self) -> list[str]:
        """Why steps on a GPU are not replayed as CUDA graphs, where they are not."""
        return self._driver.not_captured

    @property
    def programs(self) -> list[Program]:
        """Of the rule's variants so far, the first step's first."""
        return [*self._programs.values(), *[self._untraced] * bool(self._untraced.calls)]

    @property
    def work(self) -> Work:
        """What the steps so far have taken, those before a resume included."""
        before = self._work_before
        flops, steps, peaks = before.flops, before.steps, [before.peak_bytes or 0]
        for program in self.programs:
            steps += program.calls
            if program.written is None or program.graph is None:
                flops = None
                continue
            # of the rule as it is written, whatever need not be done; but the memory of what runs
            if flops is not None:
                flops += program.calls * count(program.written).flops
            peaks.append(count(program.graph).peak_bytes)
        return Work(flops, steps, max(peaks) or None)

    def snapshot(self) -> dict[str, Tensor]:
        """All that the next step depends on, and the work so far; shares storage with it."""
        work = self.work
        numbers = [-1 if n is None else n for n in (work.flops, work.steps, work.peak_bytes)]
        taken = [int(self._of_steps), int(self._of_measurements)]
        decided = {"work": torch.tensor(numbers), "compiled": torch.tensor(taken)}
        return {**decided, **self._replicas.snapshot()}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot, before any step was taken."""
        decided = ("work", "compiled")
        self._replicas.restore({name: t for name, t in snapshot.items() if name not in decided})
        # what is kept on this machine may have changed since, and with it the last bits
        for decision, taken in zip(
            (self._of_steps, self._of_measurements), snapshot["compiled"].tolist(), strict=True
        ):
            decision.taken = None if taken < 0 else bool(taken)
        flops, steps, peak = snapshot["work"].tolist()
        self._work_before = Work(None if flops < 0 else flops, steps, None if peak < 0 else peak)

    def held(self) -> Mapping[str, Tensor]:
        """The replicas as they stand, without the work so far; shares storage with them."""
        return self._replicas.snapshot()

    def put_back(self, held: Mapping[str, Tensor]) -> None:
        """The replicas as they stood, at any time; the work is not undone."""
        self._replicas.restore(held)

    def tensors(self) -> Iterator[Tensor]:
        """All that lasts between steps: data, parameters, their gradients, states."""
        yield from (self._examples.x, self._examples.y)
        yield from self._replicas.tensors()

    def _function(self, rule: Rule) -> Function:
        # a variant that does without an option keeps what it has in its place
        config, own = self.rule.config, rule.config
        options = {n: t for n, t in self._options.items() if getattr(own, n) == getattr(config, n)}
        names = self._replicas.names
        return step_function(rule, self.net, options, self.noise, names, self._shown)


class Decision:
    """Whether graphs are compiled: the first one decides for all that are called as often.

    So a record tells in a word how its steps ran, and `verify` runs them the same way.
    """

    def __init__(self, compile: Compile, calls: int) -> None:
        """calls: of each graph, in the whole training."""
        self._compile, self._calls = compile, calls
        self.taken: bool | None = None

    def __call__(self, graph: GraphModule, tensors: Sequence[Tensor]) -> bool:
        if self.taken is None:
            self.taken = self._take(graph, tensors)
        return self.taken

    def __int__(self) -> int:
        return -1 if self.taken is None else int(self.taken)

    def _take(self, graph: GraphModule, tensors: Sequence[Tensor]) -> bool:
        if self._compile != "auto" or tensors[0].device.type != "cpu":
            return self._compile == "on"
        saving = dispatch_saving(graph)
        return self._calls * saving.seconds > saving.repaid_after or is_kept(graph, tensors)
