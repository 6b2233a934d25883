"""A step of all replicas up to the optimizers, as a function of a flat list of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bioplaus.learning.batching import (
    NoiseSource,
    Rule,
    apart,
    batched_statistics,
    batched_update,
)
from bioplaus.learning.rule import Batch, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.training.traced_step import Function, Traceable

Shown = Callable[[Tensor, Tensor, Tensor], Batch]


def step_function(
    rule: Rule,
    net: Network,
    options: Params,
    noise: NoiseSource,
    names: Sequence[Sequence[str]],
    shown: Shown,
) -> Function:
    """The tensors that a step takes and gives are in one order, that of `names`.

    names: of the parameters that learn, the auxiliary parameters, the memory and the running
    statistics. Taken: these, then the indices of the batches (R, N), the step's number () and all
    examples and targets. Given: gradients, auxiliary gradients, the next memory and running
    statistics, and the metrics (M, R), whose names are the second part of the result. options: as
    for `batched_update`. shown: makes batches of examples and targets, (R, N, ...), and the step's
    number.
    """
    update_all = batched_update(rule, net, options)
    moved = batched_statistics(net)
    param_names, aux_names, memory_names, statistic_names = names

    def function(*tensors: Tensor) -> Traceable:
        rest = iter(tensors)
        params = {name: next(rest) for name in param_names}
        aux = {name: next(rest) for name in aux_names}
        memory = {name: next(rest) for name in memory_names}
        statistics = {name: next(rest) for name in statistic_names}
        index, number, x, y = rest
        batch, drawn = shown(x[index], y[index], number), noise.at(number)
        update = update_all(params, State(aux, memory), batch, drawn)
        seen = moved(params, statistics, batch.x, drawn)
        # the optimizers write into parameters: nothing a rule returns may share their storage
        owned = [*params.values(), *aux.values()]
        grads, aux_grads, following = (
            apart(part, owned) for part in (update.total, update.aux_grads, update.memory)
        )
        given = [
            *(grads[name] for name in param_names),
            *(aux_grads[name] for name in aux_names),
            *(following[name] for name in memory_names),
            *(seen[name] for name in statistic_names),
        ]
        return [*given, torch.stack(list(update.metrics.values()))], tuple(update.metrics)

    return function
