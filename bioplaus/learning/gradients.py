"""True gradients of stacked replicas, by autograd: what updates are compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vmap

from bioplaus.learning.batching import Rule
from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network


def batched_loss_grad(net: Network) -> Callable[[Params, Batch], Params]:
    """The true gradient of the loss, by autograd, over stacked parameters; a shared batch."""

    def loss(params: Params, batch: Batch) -> Tensor:
        return net.mean_loss(params, batch.x, batch.y)

    losses = vmap(loss, in_dims=(0, None))

    def gradients(params: Params, batch: Batch) -> Params:
        return _gradients(lambda p: losses(p, batch), params)

    return gradients


def batched_objective_grad(rule: Rule, net: Network) -> Callable[..., Params]:
    """The gradient of the rule's own objective, over stacked parameters; a shared batch.

    A function of parameters and batch, then of state and noise, stacked, where the objective
    depends on them.
    """

    def objective(params: Params, batch: Batch, state: State, noise: Params) -> Tensor:
        value = rule.objective_at(net, params, state, batch, noise)
        if value is None:
            raise TypeError(f"{rule.name} has no objective")
        return value

    objectives = vmap(objective, in_dims=(0, None, 0, 0))

    def gradients(
        params: Params, batch: Batch, state: State | None = None, noise: Params | None = None
    ) -> Params:
        held = state or State({}, {}), noise or {}
        return _gradients(lambda p: objectives(p, batch, *held), params)

    return gradients


def _gradients(values: Callable[[Params], Tensor], params: Params) -> Params:
    """Each replica's gradient of its own value, of those (R,), by its own part of `params`.

    Of their sum, since no value hangs on another replica's part; `torch.func.grad` under vmap is
    the same and loads torch's compiler, which takes seconds.
    """
    with torch.enable_grad():
        own = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
        total = values(own).sum()
        found = torch.autograd.grad(
            total, list(own.values()), allow_unused=True, materialize_grads=True
        )
    return dict(zip(own, found, strict=True))
