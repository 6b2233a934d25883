"""One of torch's optimizers on stacked tensors, by its functional form: the state is ours."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from bioplaus.errors import ConfigError
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.training import cuda_graph

Kept = dict[str, Tensor]


class _Part(NamedTuple):
    """Replicas with equal settings, and tensors of one rate: views, and what is kept of each."""

    spec: OptimizerSpec
    replicas: slice
    rate: float
    """What multiplies the learning rate."""
    numbers: list[int]
    """Of the tensors."""
    views: list[Tensor]
    kept: list[Kept]
    counts: Tensor
    """(tensors,): the steps that each has taken, of which `kept` has views, where it has any."""


class StackedOptimizer:
    """One optimizer on stacked tensors (R, ...), each replica with settings of its own.

    Where they differ, it works on views of the replicas, neighbours with equal settings in
    one: slices of the first axis, contiguous as the fused optimizers need them. What it
    keeps stays where it is in memory. It does without the bookkeeping of torch's classes,
    which costs more than the arithmetic where networks are small.
    """

    def __init__(
        self, specs: Sequence[OptimizerSpec], tensors: Iterable[Tensor] | Mapping[str, Tensor]
    ) -> None:
        """specs: one for all replicas, or one for each, of one kind; ConfigError otherwise.

        tensors: by name where layers may have rates of their own.
        """
        listed = list(tensors.values() if isinstance(tensors, Mapping) else tensors)
        names = list(tensors) if isinstance(tensors, Mapping) else [""] * len(listed)
        kinds = {spec.name for spec in specs}
        if len(kinds) != 1:
            raise ConfigError(f"replicas cannot share {' and '.join(sorted(kinds))}")
        self._step, keep = _KINDS[specs[0].name]
        self._parts: list[_Part] = []
        start = 0
        same = [(specs[0], slice(None))] if len(set(specs)) == 1 else []
        for spec, group in groupby([] if same else specs):
            same.append((spec, slice(start, start := start + len(list(group)))))
        for spec, part in same:
            rates = [spec.rate_of(name) for name in names]
            for rate in dict.fromkeys(rates):
                numbers = [number for number, own in enumerate(rates) if own == rate]
                views = [listed[n] if part == slice(None) else listed[n][part] for n in numbers]
                # one tensor, so that one addition counts them all
                counts = torch.zeros(len(views), dtype=torch.float32, device=listed[0].device)
                kept = [keep(*own, spec) for own in zip(views, counts, strict=True)]
                self._parts.append(_Part(spec, part, rate, numbers, views, kept, counts))
        self._settings = [p.spec.resolved() | {"lr": p.spec.lr * p.rate} for p in self._parts]

    def step(self, grads: Sequence[Tensor], resting: Container[int] = ()) -> None:
        """One step along the gradients, (R, ...) each and contiguous, in the tensors' order.

        resting: the numbers of tensors that stay as they are, and what is kept of them too.
        """
        for part, settings in zip(self._parts, self._settings, strict=True):
            active = [at for at, number in enumerate(part.numbers) if number not in resting]
            own = [grads[part.numbers[at]] for at in active]
            if part.replicas != slice(None):
                own = [grad[part.replicas] for grad in own]
            counted = [at for at in active if "step" in part.kept[at]]
            if len(counted) == len(part.numbers):
                part.counts.add_(1)
            else:
                for at in counted:
                    part.counts[at].add_(1)
            if active:
                views = [part.views[at] for at in active]
                self._step(views, own, [part.kept[at] for at in active], settings)

    def scale_rates(self, factor: float) -> None:
        """Multiply the rates of the next steps by this, and by nothing from before.

        Where steps are captured they are tensors that stay where they are, so that a captured step
        reads them anew.
        """
        for part, settings in zip(self._parts, self._settings, strict=True):
            rate = part.spec.lr * part.rate * factor
            if not (part.views and cuda_graph.replays(part.views[0].device)):
                settings["lr"] = rate
            elif isinstance(settings["lr"], Tensor):
                settings["lr"].fill_(rate)
            else:
                settings["lr"] = torch.tensor(rate, device=part.views[0].device)

    def snapshot(self) -> Kept:
        """What it keeps, by the number of the tensor or view and torch's name."""
        return {f"{number}.{name}": tensor for number, name, tensor in self._each()}

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot."""
        for number, name, tensor in self._each():
            tensor.copy_(kept[f"{number}.{name}"])

    def tensors(self) -> Iterator[Tensor]:
        """All that it keeps."""
        return (tensor for _, _, tensor in self._each())

    def _each(self) -> Iterator[tuple[int, str, Tensor]]:
        kept = [own for part in self._parts for own in part.kept]
        return ((n, name, tensor) for n, own in enumerate(kept) for name, tensor in own.items())


def _adam_kept(view: Tensor, count: Tensor, spec: OptimizerSpec) -> Kept:
    return {"step": count, "exp_avg": _zeros(view), "exp_avg_sq": _zeros(view)}


def _adam(
    views: list[Tensor], grads: list[Tensor], kept: list[Kept], given: dict[str, Any]
) -> None:
    beta1, beta2 = given["betas"]
    # what torch.optim.adam.adam calls after adding 1 to each count by itself
    step = torch._fused_adamw_ if given["decoupled_weight_decay"] else torch._fused_adam_
    step(
        views,
        grads,
        [own["exp_avg"] for own in kept],
        [own["exp_avg_sq"] for own in kept],
        [],
        [own["step"] for own in kept],
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=given["lr"],
        weight_decay=given["weight_decay"],
        eps=given["eps"],
        maximize=False,
    )


def _sgd_kept(view: Tensor, count: Tensor, spec: OptimizerSpec) -> Kept:
    return {"momentum_buffer": _zeros(view)} if spec.momentum else {}


def _sgd(views: list[Tensor], grads: list[Tensor], kept: list[Kept], given: dict[str, Any]) -> None:
    sgd(
        views,
        grads,
        [own.get("momentum_buffer") for own in kept],
        fused=True,
        weight_decay=given["weight_decay"],
        momentum=given["momentum"],
        lr=given["lr"],
        dampening=given["dampening"],
        nesterov=given["nesterov"],
        maximize=False,
    )


def _rmsprop_kept(view: Tensor, count: Tensor, spec: OptimizerSpec) -> Kept:
    momentum = {"momentum_buffer": _zeros(view)} if spec.momentum else {}
    return {"square_avg": _zeros(view), **momentum}


def _rmsprop(
    views: list[Tensor], grads: list[Tensor], kept: list[Kept], given: dict[str, Any]
) -> None:
    unread = torch.zeros((), device=views[0].device)  # it counts its steps, for nothing
    rmsprop(
        views,
        grads,
        [own["square_avg"] for own in kept],
        [],
        [own["momentum_buffer"] for own in kept if "momentum_buffer" in own],
        [unread for _ in kept],
        capturable=views[0].is_cuda,
        lr=given["lr"],
        alpha=given["alpha"],
        eps=given["eps"],
        weight_decay=given["weight_decay"],
        momentum=given["momentum"],
        centered=given["centered"],
    )


def _zeros(view: Tensor) -> Tensor:
    return torch.zeros_like(view, memory_format=torch.preserve_format)


_Step = Callable[[list[Tensor], list[Tensor], list[Kept], dict[str, Any]], None]
_Keep = Callable[[Tensor, Tensor, OptimizerSpec], Kept]
_KINDS: dict[str, tuple[_Step, _Keep]] = {
    "adam": (_adam, _adam_kept),
    "adamw": (_adam, _adam_kept),
    "sgd": (_sgd, _sgd_kept),
    "rmsprop": (_rmsprop, _rmsprop_kept),
}
