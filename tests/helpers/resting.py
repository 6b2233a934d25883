"""A rule that trains one half of the network and then the other, and plain torch doing so."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Resting, RuleConfig
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from tests.helpers.faulty_rules import Honest

TURNS = (frozenset({"1.weight", "1.bias", "3.bias"}), frozenset({"2.weight", "2.bias"}))
"""What rests in even steps, and in odd ones, of three layers."""
SAID = (frozenset({"1", "3.bias"}), frozenset({"2"}))


class InTurns(Honest):
    """Backprop of some layers in even steps, of others in odd ones."""

    name = "in-turns"
    turn = 0

    def __init__(self, config: RuleConfig) -> None:
        super().__init__(config)
        self._other: Self | None = None

    def variant(self, step: int) -> Self:
        if self._other is None:
            self._other = type(self)(self.config)
            self._other.turn = 1
        return self._other if step % 2 else self

    def rests(self, net: Network, step: int) -> Resting:
        return Resting(params=SAID[step % 2])

    def weight_grads(self, fwd: ForwardPass, deltas: list[Tensor]) -> Params:
        grads = super().weight_grads(fwd, deltas)
        return {n: 0 * g if n in TURNS[self.turn] else g for n, g in grads.items()}


def by_torch(
    net: Network, params: Params, spec: OptimizerSpec, batches: list[tuple[Tensor, Any]]
) -> Params:
    """Autograd and a torch optimizer, which passes by what has no gradient."""
    own = {name: tensor.detach().clone().requires_grad_() for name, tensor in params.items()}
    optimizer = spec.build(own.values(), fused=False)
    for step, (x, y) in enumerate(batches):
        with torch.enable_grad():
            optimizer.zero_grad()
            net.mean_loss(own, x, y).backward()  # type: ignore[no-untyped-call]
        for name in TURNS[step % 2]:
            own[name].grad = None
        optimizer.step()
    return {name: tensor.detach() for name, tensor in own.items()}
