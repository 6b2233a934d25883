"""The optimizer of a learner's model: made here, or somebody's, if it is this model's."""

from __future__ import annotations

import torch

from bioplaus.errors import ConfigError, ModelError
from bioplaus.learning.batching import Rule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.own_model.own_network import OwnNetwork

_EXAMPLE = (
    "torch.optim.SGD(model.parameters(), lr=0.1) or bioplaus.OptimizerSpec(name='adam', lr=0.001)"
)


def model_optimizer(given: object, rule: Rule, own: OwnNetwork) -> torch.optim.Optimizer:
    """As given; None for what the rule recommends, else Adam at 1e-3.

    Raises ConfigError for what is no optimizer that goes by gradients alone, ModelError for
    one of another model.
    """
    if given is None:
        given = rule.optimizer_on(own.net) or OptimizerSpec(name="adam", lr=1e-3)
    if isinstance(given, OptimizerSpec):
        # frozen parameters too: they have no gradient, and may be thawed
        return given.build(dict.fromkeys(own.names.values()))
    if isinstance(given, torch.optim.LBFGS):
        raise ConfigError(f"LBFGS evaluates the loss by itself, and a rule cannot: give {_EXAMPLE}")
    if not isinstance(given, torch.optim.Optimizer):
        said = repr(given) if isinstance(given, str) else type(given).__name__
        if isinstance(given, type):
            said = f"the class {given.__name__}"
        raise ConfigError(f"optimizer is an object such as {_EXAMPLE}, not {said}")
    ours = set(map(id, own.names.values()))
    held = [parameter for group in given.param_groups for parameter in group["params"]]
    if not any(id(parameter) in ours for parameter in held):
        raise ModelError(
            "the optimizer holds none of the model's parameters: is it of another model, or of a "
            "copy? make it from this model's parameters()"
        )
    foreign = sum(id(parameter) not in ours for parameter in held)
    if foreign:
        raise ModelError(
            f"the optimizer holds {foreign} tensors that are not this model's, or those of a "
            "learner before: make one from this model's parameters()"
        )
    return given
