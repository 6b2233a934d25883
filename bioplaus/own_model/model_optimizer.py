"""The optimizer of a learner's model: made here, or somebody's, if it is this model's."""

from __future__ import annotations

import torch

from bioplaus.errors import ConfigError, ModelError
from bioplaus.learning.batching import Rule
from bioplaus.learning.layer_rates import check_rates
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.network.layer import Params
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
        given = recommended(rule, own)
    if isinstance(given, OptimizerSpec):
        # frozen parameters too: they have no gradient, and may be thawed
        check_rates(given, own.net)
        _check_ties(given, own)
        once = {names[0] for names in own.ties()}
        again = {name for names in own.ties() for name in names} - once
        return given.build({name: p for name, p in own.names.items() if name not in again})
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


def recommended(rule: Rule, own: OwnNetwork) -> OptimizerSpec:
    """What the rule recommends, else Adam at 1e-3."""
    return rule.optimizer_on(own.net) or OptimizerSpec(name="adam", lr=1e-3)


def add_beside(optimizer: torch.optim.Optimizer, spec: OptimizerSpec | None, aux: Params) -> None:
    """A rule's auxiliary parameters to the optimizer of the model; at its layers' rates by spec."""
    own = (
        spec.groups(aux) if spec is not None and spec.layer_rates else [{"params": [*aux.values()]}]
    )
    for group in own:
        optimizer.add_param_group(group)


def _check_ties(spec: OptimizerSpec, own: OwnNetwork) -> None:
    """ConfigError where one tensor stands at places of several rates."""
    for names in own.ties():
        if len({spec.rate_of(name) for name in names}) > 1:
            raise ConfigError(
                f"optimizer: layer_rates: {' and '.join(names)} are one tensor, so their layers "
                "have one rate"
            )
