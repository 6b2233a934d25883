"""Probes: how a rule's update compares with the true gradient, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from bioplaus.learning.answers import noise_of
from bioplaus.learning.batching import (
    NoiseSource,
    Rule,
    batched_update,
    unstack,
)
from bioplaus.learning.gradients import batched_loss_grad, batched_objective_grad
from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network

Alignment = dict[str, dict[str, Tensor]]
"""reference -> "cosine.1", "norm_ratio.1", ... -> one number per replica."""


class AlignmentProbe:
    """Cosine and norm ratio of the update and the gradient, on one fixed batch.

    The update is without the rule's own regulariser; the gradient is autograd's, of the
    forward network's loss, whatever the rule.
    """

    def __init__(
        self, rule: Rule, net: Network, params: Params, batch: Batch, seeds: Sequence[int]
    ) -> None:
        self._net = net
        self._batch = batch
        self._update = batched_update(rule, net)
        specs = noise_of(rule, net, batch.x.shape[0])
        noise = NoiseSource(specs, seeds, batch.x.dtype, batch.x.device, purpose="probe noise")
        self._noise = noise.at(0)
        self._replicas = len(seeds)
        self._rule = rule
        self._loss_gradient = batched_loss_grad(net)
        self._objective_gradient = batched_objective_grad(rule, net)

    def measure(self, params: Params, state: State) -> Alignment:
        """Alignment of stacked replicas as they stand; changes nothing."""
        copies = Batch(*(t.expand(self._replicas, *t.shape) for t in self._batch))
        update = self._update(params, state, copies, self._noise).grads
        references = {"loss": self._loss_gradient(params, self._batch)}
        if self._has_objective(params, state):
            own = self._objective_gradient(params, self._batch, state, self._noise)
            references["objective"] = own
        return {name: compare(self._net, update, true) for name, true in references.items()}

    def _has_objective(self, params: Params, state: State) -> bool:
        first = State(unstack(state.aux, 0), unstack(state.memory, 0))
        noise = unstack(self._noise, 0)
        value = self._rule.objective_at(self._net, unstack(params, 0), first, self._batch, noise)
        return value is not None


def compare(net: Network, update: Mapping[str, Tensor], reference: Params) -> dict[str, Tensor]:
    """Per layer with weights, cosine and |update| / |reference|, each (R,); stacked inputs."""
    result = {}
    for l, ours, theirs in by_layer(net, update, reference):
        result[f"cosine.{l + 1}"], result[f"norm_ratio.{l + 1}"] = cosine_and_ratio(ours, theirs)
    return result


def by_layer(
    net: Network, update: Mapping[str, Tensor], reference: Params
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Of each layer l with weights, from 0: both as vectors (R, n) in double precision."""
    for l in range(net.depth):
        ours, theirs = net.at(update, l), net.at(reference, l)
        if ours and theirs and net.leader(l) == l:
            yield l, _flat(ours), _flat({name: theirs[name] for name in ours})


def cosine_and_ratio(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Of vectors (R, n): the cosines and |ours| / |theirs|, (R,); NaN where one is 0."""
    norms = ours.norm(dim=-1), theirs.norm(dim=-1)
    return (ours * theirs).sum(-1) / (norms[0] * norms[1]), norms[0] / norms[1]


def sign_agreement(ours: Tensor, theirs: Tensor) -> Tensor:
    """The share of equal signs among those where theirs is not 0, (R,); NaN where all are."""
    counted = theirs != 0
    equal = (ours.sign() == theirs.sign()) & counted
    return equal.sum(-1).double() / counted.sum(-1)


def _flat(part: Params) -> Tensor:
    """A layer's parameters as one vector per replica, in double precision."""
    return torch.cat([tensor.flatten(1).double() for tensor in part.values()], dim=1)
