"""Learning rules on one's own `nn.Module`: a drop-in for `loss.backward()`."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from bioplaus.errors import ModelError
from bioplaus.learning.prediction import predicted_alone
from bioplaus.own_model.inputs import (
    ArrayLike,
    RuleLike,
    batch_of,
    check_surroundings,
    chosen_loss,
    chosen_rule,
    chosen_seed,
    examples,
)
from bioplaus.own_model.own_network import OwnNetwork
from bioplaus.own_model.rule_state import RuleState
from bioplaus.plugins import defaults


@dataclass(frozen=True)
class Backward:
    """What `backward` returns: the loss (scalar), the output (N, outputs), the rule's state."""

    loss: Tensor
    output: Tensor
    state: RuleState


@torch.no_grad()
def backward(
    model: nn.Module,
    x: ArrayLike,
    y: ArrayLike,
    rule: RuleLike = defaults.RULE,
    loss: str = "mse",
    state: RuleState | None = None,
    seed: int = 0,
    plugin: str | PathLike[str] | None = None,
    **config: Any,
) -> Backward:
    """Write a learning rule's update into `.grad`, as `loss.backward()` writes the gradient.

    model: an `nn.Sequential` of Linear, Conv2d, pooling, Flatten, Dropout, BatchNorm and
    activation modules and of `bioplaus.nn.Residual` blocks of them, or an `nn.Module` whose
    `forward` puts such modules together, as `torch.fx` reads it; in float32 or float64. Its
    forward pass is the rule's: what changes that from outside (hooks, parametrizations, another
    `forward` of a module of torch's) is refused. Dropout is silent in the output returned; Dropout
    and BatchNorm go by their modules' modes, as in torch.
    x: inputs (N, ...), flattened where the model begins with Linear; a numpy array is
    taken too, and float64 for a float32 model.
    y: class indices (N), or float targets (N, C); outputs beyond the first C are
    auxiliary units with zero error. The loss is averaged over the batch;
    "mse" is half the squared error, summed over the outputs.
    rule: a name, a rule's class, or a rule; config: its options. plugin: a Python file with
    rules, which have names then.
    state: of the call before; None starts one from `seed`.
    Gradients add to those that are there, so zero them as usual. Frozen parameters and
    those that rest in this step (`LearningRule.rests`) get none.
    A parameter that stands at several places gets the sum.

    Raises ModelError naming a module, a node or an argument that has no place here,
    UnsupportedError where the rule cannot train the model, UnknownNameError and ConfigError for
    wrong names and options.

        state, optimizer = None, torch.optim.Adam(model.parameters())
        for x, y in batches:
            optimizer.zero_grad()
            state = bioplaus.backward(model, x, y, "backprop", state=state).state
            optimizer.step()
    """
    check_surroundings()
    configured = chosen_rule(rule, config, plugin)
    x = examples(x)
    own = OwnNetwork(model, tuple(x.shape[1:]), chosen_loss(loss))
    own.trained()
    batch = batch_of(x, y, own)
    own.narrow(batch.y.shape[1])
    if state is None:
        own.check_forward()
        state = RuleState(configured, own, chosen_seed(seed))
    else:
        _check_state(state, configured.name, configured.config, own)
    before = state.values()
    update = state.update(own, batch)
    at_rest = own.params() | own.norms.running(training=True)
    output = predicted_alone(configured, own.net, at_rest, before, batch.x, state.seed)
    state.write(own, update, add=True)
    state.finish(update)
    return Backward(update.metrics["loss"], output, state)


def _check_state(state: object, name: str, config: object, own: OwnNetwork) -> None:
    if not isinstance(state, RuleState):
        raise ModelError(
            f"state is what the call before returned as .state, or None, not {type(state).__name__}"
        )
    if (state.rule.name, state.rule.config, state.net) != (name, config, own.net):
        raise ModelError("the state is of another rule, configuration or model: start with None")
    state.check_place(own)
