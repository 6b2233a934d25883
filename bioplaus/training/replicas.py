"""What training changes: all replicas' parameters, rule state and optimizers, stacked."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from bioplaus.errors import PluginError
from bioplaus.learning.batching import Replica, Rule, stack, stacked_initial, unstack
from bioplaus.learning.rule import Batch, Resting, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.network.running_statistics import initial_statistics
from bioplaus.numerics.random_streams import Stream
from bioplaus.training import cuda_graph
from bioplaus.training.budget import Budget
from bioplaus.training.masks import Masks
from bioplaus.training.stacked_optimizer import StackedOptimizer


class Replicas:
    """The replicas of one rule as they stand between two steps.

    Parameters and auxiliary parameters stay where they are in memory: optimizers and CUDA
    graphs hold them. So do the rest of the rule's state and running statistics on a CUDA device.
    """

    def __init__(
        self,
        rule: Rule,
        net: Network,
        budget: Budget,
        seeds: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
        each: Sequence[Replica],
    ) -> None:
        """each: where replicas differ in more than the seed, what each of them is.

        PluginError for a rule with auxiliary parameters and no optimizer for them.
        """
        self._net, self._seeds = net, tuple(seeds)
        self._rules = [r.rule for r in each] or [rule] * len(self._seeds)
        self._masks = Masks(budget.pruning, net, self._seeds, budget.dense)
        drawn, state = stacked_initial(
            self._rules, net, self._seeds, dtype, device, self._masks.initial
        )
        self.statistics = {name: drawn.pop(name) for name in initial_statistics(net)}
        self.trained = drawn
        self.aux, self.memory = self._masks.of_state(self.trained, state)
        self._optimizer = StackedOptimizer(
            [r.optimizer for r in each] or [budget.optimizer], self.trained
        )
        if self.aux and budget.aux_optimizer is None:
            raise PluginError(
                f"the rule {rule.name!r} has auxiliary parameters but no aux_optimizer for them"
            )
        self._aux_optimizer = (
            StackedOptimizer(
                [r.aux_optimizer for r in each if r.aux_optimizer] or [budget.aux_optimizer],
                self.aux,
            )
            if budget.aux_optimizer and self.aux
            else None
        )
        self._stays = cuda_graph.replays(device)

    @property
    def params(self) -> Params:
        """What a prediction reads: parameters that learn, and running statistics; stacked."""
        return {**self.trained, **self.statistics}

    @property
    def state(self) -> State:
        """The rule's state, stacked."""
        return State(self.aux, self.memory)

    def given(self) -> list[Tensor]:
        """What a step reads of them, in the order of `names`."""
        parts = self.trained, self.aux, self.memory, self.statistics
        return [tensor for part in parts for tensor in part.values()]

    @property
    def names(self) -> list[list[str]]:
        """Of the parameters that learn, auxiliary parameters, memory and running statistics."""
        return [list(part) for part in (self.trained, self.aux, self.memory, self.statistics)]

    def take(self, returned: Iterator[Tensor], resting: Resting) -> None:
        """A step's gradients, auxiliary gradients, next memory and statistics, in that order.

        resting: what does not learn in it.
        """
        masks = self._masks
        grads = [_graded(p, masks.grad(n, next(returned))) for n, p in self.trained.items()]
        aux_grads = [_graded(p, masks.aux_grad(n, next(returned))) for n, p in self.aux.items()]
        memory = masks.remembered({name: next(returned) for name in self.memory})
        statistics = {name: next(returned) for name in self.statistics}
        self._optimizer.step(grads, _numbers(self.trained, resting.params))
        if self._aux_optimizer is not None:
            self._aux_optimizer.step(aux_grads, _numbers(self.aux, resting.aux))
        self.memory = self._following(memory, self.memory)
        self.statistics = self._following(statistics, self.statistics)

    def scale_rates(self, factor: float) -> None:
        """Multiply the learning rates of the next steps by this, and by nothing from before."""
        self._optimizer.scale_rates(factor)
        if self._aux_optimizer is not None:
            self._aux_optimizer.scale_rates(factor)

    def refresh(self, batch: Batch, number: int) -> None:
        """The rule's work on the host before step `number`."""
        streams = [Stream(seed).at("refresh", number) for seed in self._seeds]
        if all(rule is self._rules[0] for rule in self._rules):
            rule, given = self._rules[0], State(self.aux, self.memory)
            together = rule.refresh_all(self._net, self.trained, given, batch, streams)
            if together is not None:
                _copy(self._masks.fed(together.aux), self.aux)
                memory = self._masks.remembered(together.memory)
                self.memory = self._following(memory, self.memory)
                return
        states = [
            rule.refresh(
                self._net,
                unstack(self.trained, i),
                State(unstack(self.aux, i), unstack(self.memory, i)),
                Batch(batch.x[i], batch.y[i]),
                stream,
            )
            for i, (rule, stream) in enumerate(zip(self._rules, streams, strict=True))
        ]
        _copy(self._masks.fed(stack([s.aux for s in states])), self.aux)
        memory = self._masks.remembered(stack([s.memory for s in states]))
        self.memory = self._following(memory, self.memory)

    def _following(self, tensors: Params, before: Params) -> Params:
        """They in the place of those before, which on a CUDA device stay where they are."""
        if not self._stays:
            return tensors
        _copy(tensors, before)
        return before

    def snapshot(self) -> dict[str, Tensor]:
        """All that the next step depends on; shares storage with it."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "params": self.trained,
            "aux": self.aux,
            "memory": self.memory,
            "statistics": self.statistics,
            "optimizer": self._optimizer.snapshot(),
            "aux_optimizer": self._aux_optimizer.snapshot() if self._aux_optimizer else {},
        }
        return {f"{part}/{n}": tensor for part, kept in parts.items() for n, tensor in kept.items()}

    @torch.no_grad()
    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot."""
        parts: dict[str, Params] = {}
        for key, tensor in snapshot.items():
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = tensor
        for own, part in (
            (self.trained, "params"),
            (self.aux, "aux"),
            (self.memory, "memory"),
            (self.statistics, "statistics"),
        ):
            _copy({name: parts[part][name] for name in own}, own)
        self._optimizer.restore(parts.get("optimizer", {}))
        if self._aux_optimizer is not None:
            self._aux_optimizer.restore(parts.get("aux_optimizer", {}))

    def tensors(self) -> Iterator[Tensor]:
        """All that lasts between steps: parameters, their gradients, states."""
        for tensor in (*self.trained.values(), *self.aux.values()):
            yield tensor
            if tensor.grad is not None:
                yield tensor.grad
        yield from self.memory.values()
        yield from self.statistics.values()
        for optimizer in (self._optimizer, self._aux_optimizer):
            yield from optimizer.tensors() if optimizer else ()


def _graded(parameter: Tensor, grad: Tensor) -> Tensor:
    """The gradient in one piece, as the fused optimizers need it, and as the parameter's."""
    parameter.grad = grad.contiguous()
    return parameter.grad


def _numbers(tensors: Params, names: Container[str]) -> frozenset[int]:
    """The places of those names."""
    return frozenset(number for number, name in enumerate(tensors) if name in names)


def _copy(tensors: Mapping[str, Tensor], into: Params) -> None:
    for name, tensor in tensors.items():
        into[name].copy_(tensor)
