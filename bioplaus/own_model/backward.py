"""Learning rules on one's own `nn.Sequential`: a drop-in for `loss.backward()`."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioplaus.errors import ModelError
from bioplaus.learning.batching import Rule
from bioplaus.learning.rule import Batch
from bioplaus.network.batch_norm import Norms
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.own_model.read_modules import read_modules
from bioplaus.own_model.rule_state import RuleState, with_penalty, write_gradients
from bioplaus.plugins import defaults, registry


@dataclass(frozen=True)
class Backward:
    """What `backward` returns: the loss (scalar), the output (N, outputs), the rule's state."""

    loss: Tensor
    output: Tensor
    state: RuleState


@torch.no_grad()
def backward(
    model: nn.Sequential,
    x: Tensor,
    y: Tensor,
    rule: str = defaults.RULE,
    loss: str = "mse",
    state: RuleState | None = None,
    seed: int = 0,
    **config: Any,
) -> Backward:
    """Write a learning rule's update into `.grad`, as `loss.backward()` writes the gradient.

    model: an `nn.Sequential` of Linear, Conv2d, pooling, Flatten, Dropout, BatchNorm and
    activation modules and of `bioplaus.nn.Residual` blocks of them. Dropout is silent in
    `model.eval()` and in the output returned; BatchNorm goes by the batch, and takes it into
    its running statistics, or by those in `model.eval()`.
    x: inputs (N, ...), flattened unless a Conv2d or a pooling module comes first.
    y: class indices (N), or float targets (N, C); outputs beyond the first C are
    auxiliary units with zero error. The loss is averaged over the batch;
    "mse" is half the squared error, summed over the outputs.
    state: of the call before; None starts one from `seed`.
    Gradients add to those that are there, so zero them as usual.

    Raises ModelError naming a module that has no place here, UnsupportedError where the
    rule cannot train the model, UnknownNameError and ConfigError for wrong names and options.
    """
    if x.dim() < 2 or x.shape[0] == 0:
        raise ModelError(f"x holds a batch of examples, but has the shape {tuple(x.shape)}")
    layers, names = read_modules(model, tuple(x.shape[1:]))
    y = targets(y, x.shape[0], prod(layers[-1].out_shape), x.dtype)
    net = Network(layers, get_loss(loss), classes=y.shape[-1])
    params = {name: p.detach() for name, p in names.items()}
    configured: Rule = registry.load("rule", rule).configured(config)
    if state is None:
        state = RuleState(configured, net, params, seed)
    elif state.rule.name != rule or state.rule.config != configured.config or state.net != net:
        raise ModelError("the state is of another rule, configuration or model: start with None")
    batch = Batch(x.reshape(-1, *net.in_shape), y)
    norms, before = Norms(model, net), state.values()
    update = state.update(params, batch, norms, model.training)
    fixed = norms.running(model.training)
    output = configured.predict(net, params | fixed, before, batch.x)
    trained = {name: p for name, p in names.items() if p.requires_grad}
    write_gradients(trained, with_penalty(update), add=True)
    state.finish(update, add=True)
    return Backward(update.metrics["loss"], output, state)


def targets(y: Tensor, count: int, outputs: int, dtype: torch.dtype) -> Tensor:
    """Float targets (N, C), C <= outputs; class indices become one-hot over all outputs."""
    if y.shape[:1] != (count,):
        raise ModelError(f"y has the shape {tuple(y.shape)}, but x has {count} examples")
    if not y.is_floating_point():
        if y.dim() != 1:
            raise ModelError(f"class indices are a vector, but y has the shape {tuple(y.shape)}")
        if count and not 0 <= int(y.min()) <= int(y.max()) < outputs:
            raise ModelError(f"y has classes outside 0..{outputs - 1}, the model's outputs")
        return F.one_hot(y.long(), outputs).to(dtype)
    if y.dim() != 2 or not 1 <= y.shape[1] <= outputs:
        raise ModelError(
            f"float targets are (N, C) with C at most the model's {outputs} outputs, "
            f"but y has the shape {tuple(y.shape)}"
        )
    return y.to(dtype)
