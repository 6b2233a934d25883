"""One step of training for all replicas: gather the batch, ask the rule, apply the update.

What a step computes up to the optimizers is one pure function of tensors, and so one
program; the optimizers are torch's, fused, on the stacked parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule

from bioplaus.errors import PluginError
from bioplaus.learning.batching import (
    NoiseSource,
    Replica,
    Rule,
    apart,
    batched_update,
    differing_options,
    stack,
    stacked_initial,
    unstack,
)
from bioplaus.learning.optimizers import OptimizerSpec, StackedOptimizer
from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.dataset import Split
from bioplaus.training.cuda_graph import Captured
from bioplaus.training.operation_count import Work, count, dispatch_saving
from bioplaus.training.traced_step import Function, Program

Compile = Literal["auto", "on", "off"]
"""Whether steps are compiled: where it is likely to repay its time, always, or never."""


@dataclass(frozen=True)
class Budget:
    """How long and how fast to learn."""

    batch_size: int
    epochs: int
    optimizer: OptimizerSpec
    aux_optimizer: OptimizerSpec | None


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
    ) -> None:
        """each: where replicas differ in more than the seed, what each of them is."""
        self.rule, self.net, self.seeds = rule, net, tuple(seeds)
        self._rules = [r.rule for r in each] or [rule] * len(self.seeds)
        self._dtype, device = train.x.dtype, train.x.device
        self._x, self._y = train.x, F.one_hot(train.y, net.classes).to(self._dtype)
        self.params, self.state = stacked_initial(self._rules, net, self.seeds, self._dtype, device)
        self._options = {
            name: torch.tensor(values, dtype=self._dtype, device=device)
            for name, values in (differing_options(each) if each else {}).items()
        }
        self._optimizer = StackedOptimizer(
            [r.optimizer for r in each] or [budget.optimizer], self.params.values()
        )
        if self.state.aux and budget.aux_optimizer is None:
            raise PluginError(
                f"the rule {rule.name!r} has auxiliary parameters but no aux_optimizer for them"
            )
        self._aux_optimizer = (
            StackedOptimizer(
                [r.aux_optimizer for r in each if r.aux_optimizer] or [budget.aux_optimizer],
                self.state.aux.values(),
            )
            if budget.aux_optimizer and self.state.aux
            else None
        )
        specs = rule.noise(net, budget.batch_size)
        self.noise = NoiseSource(specs, seeds, self._dtype, device)
        self._compile = compile
        self._steps = budget.epochs * (len(train) // budget.batch_size)
        self._programs: dict[Rule, Program] = {}
        self._number = torch.zeros((), dtype=torch.int64, device=device)
        self._work_before = Work()
        self._captured: dict[Rule, Captured] = {}
        self._index: Tensor | None = None
        self._sums: Tensor | None = None
        self.metrics: list[str] = []
        """Names of what the rule reports, after the first step."""

    def step(self, index: Tensor, number: int, sums: Tensor | None) -> Tensor:
        """One update of all replicas; the sums (M, R) of the metrics so far, with this step's.

        index: each replica's examples, (R, batch size). number: of the step, from 0.
        """
        every = self.rule.refresh_every
        if every and number % every == 0:
            self._refresh(self.gather(index), number)
        rule = self.rule.variant(number)
        if rule not in self._programs:
            self._programs[rule] = Program(self._function(rule), self._worth_compiling)
        self._number.fill_(number)
        if self._x.device.type != "cuda":
            metrics, memory = self._advance(self._programs[rule], index)
            self.state = State(self.state.aux, memory)
            return metrics if sums is None else sums + metrics
        return self._step_on_cuda(rule, index, sums)

    def _step_on_cuda(self, rule: Rule, index: Tensor, sums: Tensor | None) -> Tensor:
        """All that a step reads and writes stays where it is, so that it can be captured."""
        if self._index is None:
            self._index = torch.empty_like(index, memory_format=torch.contiguous_format)
            held = {name: t.clone() for name, t in self.state.memory.items()}
            self.state = State(self.state.aux, held)
        self._index.copy_(index)
        if self._sums is None and sums is not None:  # of before a resume
            self._sums = sums.clone()
        elif self._sums is not None and sums is None:
            self._sums.zero_()
        if rule not in self._captured:
            program = self._programs[rule]
            self._captured[rule] = Captured(lambda: self._advance_in_place(program), index.device)
        if self._compile == "off":
            self._advance_in_place(self._programs[rule])
        else:
            self._captured[rule]()
        assert self._sums is not None
        return self._sums

    def _advance_in_place(self, program: Program) -> None:
        assert self._index is not None
        metrics, memory = self._advance(program, self._index)
        for name, tensor in self.state.memory.items():
            tensor.copy_(memory[name])
        if self._sums is None:  # in the first step, which is not captured
            self._sums = torch.zeros_like(metrics)
        self._sums.add_(metrics)

    def _advance(self, program: Program, index: Tensor) -> tuple[Tensor, Params]:
        """The update, taken by the optimizers; the step's metrics and the next memory."""
        given = [*self.params.values(), *self.state.aux.values(), *self.state.memory.values()]
        returned = iter(program(*given, index, self._number, self._x, self._y))
        for parameter in self.params.values():
            parameter.grad = next(returned).contiguous()
        for parameter in self.state.aux.values():
            parameter.grad = next(returned).contiguous()
        memory = {name: next(returned) for name in self.state.memory}
        metrics = next(returned)
        self._optimizer.step()
        if self._aux_optimizer is not None:
            self._aux_optimizer.step()
        return metrics, memory

    def gather(self, index: Tensor) -> Batch:
        """The examples at those indices, with one-hot targets."""
        return Batch(self._x[index], self._y[index])

    @property
    def not_captured(self) -> list[str]:
        """Why steps on a GPU are not replayed as CUDA graphs, where they are not."""
        return [captured.why for captured in self._captured.values() if captured.why]

    @property
    def programs(self) -> list[Program]:
        """Of the rule's variants so far, the first step's first."""
        return list(self._programs.values())

    @property
    def work(self) -> Work:
        """What the steps so far have taken, those before a resume included."""
        before = self._work_before
        flops, steps, peaks = before.flops, before.steps, [before.peak_bytes or 0]
        for program in self.programs:
            steps += program.calls
            if program.graph is None:
                flops = None
                continue
            cost = count(program.graph)
            flops = None if flops is None else flops + program.calls * cost.flops
            peaks.append(cost.peak_bytes)
        return Work(flops, steps, max(peaks) or None)

    def snapshot(self) -> dict[str, Tensor]:
        """All that the next step depends on, and the work so far; shares storage with it."""
        work = self.work
        numbers = [-1 if n is None else n for n in (work.flops, work.steps, work.peak_bytes)]
        found = {"work": torch.tensor(numbers)}
        parts: dict[str, Mapping[str, Tensor]] = {
            "params": self.params,
            "aux": self.state.aux,
            "memory": self.state.memory,
            "optimizer": self._optimizer.snapshot(),
            "aux_optimizer": self._aux_optimizer.snapshot() if self._aux_optimizer else {},
        }
        for part, tensors in parts.items():
            found |= {f"{part}/{name}": tensor for name, tensor in tensors.items()}
        return found

    @torch.no_grad()
    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot, before any step was taken."""
        parts: dict[str, Params] = {}
        for key, tensor in snapshot.items():
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = tensor
        for own, part in ((self.params, "params"), (self.state.aux, "aux")):
            for name, tensor in own.items():
                tensor.copy_(parts[part][name])
        kept = {n: parts["memory"][n].to(t.device) for n, t in self.state.memory.items()}
        self.state = State(self.state.aux, kept)
        self._optimizer.restore(parts.get("optimizer", {}))
        if self._aux_optimizer is not None:
            self._aux_optimizer.restore(parts.get("aux_optimizer", {}))
        flops, steps, peak = snapshot["work"].tolist()
        self._work_before = Work(None if flops < 0 else flops, steps, None if peak < 0 else peak)

    def tensors(self) -> Iterator[Tensor]:
        """All that lasts between steps: data, parameters, their gradients, states."""
        yield from (self._x, self._y)
        for tensor in (*self.params.values(), *self.state.aux.values()):
            yield tensor
            if tensor.grad is not None:
                yield tensor.grad
        yield from self.state.memory.values()
        for optimizer in (self._optimizer, self._aux_optimizer):
            for kept in optimizer.state.values() if optimizer else ():
                yield from (v for v in kept.values() if isinstance(v, Tensor))

    def _function(self, rule: Rule) -> Function:
        """A step of that rule up to the optimizers, as a function of a flat list of tensors."""
        # a variant that does without an option keeps what it has in its place
        config, own = self.rule.config, rule.config
        options = {n: t for n, t in self._options.items() if getattr(own, n) == getattr(config, n)}
        update_all = batched_update(rule, self.net, options)
        names, aux_names, memory_names = map(list, (self.params, self.state.aux, self.state.memory))

        def function(*tensors: Tensor) -> list[Tensor]:
            rest = iter(tensors)
            params = {name: next(rest) for name in names}
            aux = {name: next(rest) for name in aux_names}
            memory = {name: next(rest) for name in memory_names}
            index, number, x, y = rest
            batch = Batch(x[index], y[index])
            update = update_all(params, State(aux, memory), batch, self.noise.at(number))
            # the optimizers write into parameters: nothing a rule returns may share their storage
            owned = [*params.values(), *aux.values()]
            grads, penalty = apart(update.grads, owned), update.penalty
            aux_grads, next_memory = apart(update.aux_grads, owned), apart(update.memory, owned)
            self.metrics = list(update.metrics)
            return [
                *(grads[n] + penalty[n] if n in penalty else grads[n] for n in names),
                *(aux_grads[n] for n in aux_names),
                *(next_memory[n] for n in memory_names),
                torch.stack(list(update.metrics.values())),
            ]

        return function

    def _worth_compiling(self, graph: GraphModule) -> bool:
        if self._compile != "auto":
            return self._compile == "on"
        saving = dispatch_saving(graph)
        return self._x.device.type == "cpu" and self._steps * saving.seconds > saving.repaid_after

    def _refresh(self, batch: Batch, number: int) -> None:
        """The rule's host work, one replica after the other."""
        states = [
            rule.refresh(
                self.net,
                unstack(self.params, i),
                State(unstack(self.state.aux, i), unstack(self.state.memory, i)),
                Batch(batch.x[i], batch.y[i]),
                Stream(seed).at("refresh", number),
            )
            for i, (rule, seed) in enumerate(zip(self._rules, self.seeds, strict=True))
        ]
        for name, tensor in stack([s.aux for s in states]).items():
            self.state.aux[name].copy_(tensor)
        memory = stack([s.memory for s in states])
        if self._index is None:
            self.state = State(self.state.aux, memory)
        else:  # what is captured reads it where it is
            for name, tensor in memory.items():
                self.state.memory[name].copy_(tensor)
