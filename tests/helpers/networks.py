"""Networks, parameters, batches and oracles, for the tests of the rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
import torch
from torch import Tensor

from bioplaus.learning.batching import NoiseSource, Rule, unstack
from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.learning.rule import Batch, State, Update
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins import registry
from bioplaus.testing.comparing import EXACT, rel, worst
from bioplaus.testing.networks import (
    LAYERS,
    make_convolutional,
    make_network,
    make_spiking,
    random_batch,
    random_params,
)

__all__ = [
    "EXACT",
    "LAYERS",
    "SEEDS",
    "autograd_grads",
    "chain",
    "condition",
    "draw",
    "every_seed",
    "forward_pass",
    "get_rule",
    "layer_jacobians",
    "make_convolutional",
    "make_network",
    "network_for",
    "noise_for",
    "random_batch",
    "random_params",
    "rel",
    "run_rule",
    "single_examples",
    "worst",
]

SEEDS = range(10)
every_seed = pytest.mark.parametrize("seed", SEEDS)


_FOR_EVERY_RULE = [
    make_network((6, 6, 6, 6), "leaky_relu(0.1)", "mse", classes=4),
    make_network((7, 6, 5, 4), "tanh", "cross_entropy"),
    make_network((7, 6, 5, 4), "sigmoid", "mse"),
    make_spiking(),
]


def network_for(rule: Rule) -> Network:
    """The first small network that the rule supports; every built-in one supports one."""
    return next(net for net in _FOR_EVERY_RULE if rule.supports(net) is None)


def draw(seed: int, name: str, *shape: int) -> Tensor:
    """Numbers from the standard normal, of a stream of that name."""
    return Stream(seed).at(name).normal(shape)


def autograd_grads(net: Network, params: Params, batch: Batch) -> Params:
    """The true gradient of the mean loss at every parameter."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
    loss = net.mean_loss(leaves, batch.x, batch.y)
    grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, grads, strict=True))


def get_rule(name: str, **options: object) -> Rule:
    """The rule, as the registry knows it, with these options."""
    rule: Rule = registry.load("rule", name).configured(options)
    return rule


def noise_for(rule: Rule, net: Network, batch: Batch, seed: int = 0) -> Params:
    """One step's noise, drawn as the harness draws it."""
    specs = rule.noise(net, batch.x.shape[0])
    return unstack(NoiseSource(specs, [seed], batch.x.dtype, batch.x.device).at(0), 0)


def run_rule(
    name: str,
    net: Network,
    params: Params,
    batch: Batch,
    seed: int = 0,
    state: State | None = None,
    **options: object,
) -> Update:
    """One update of a registered rule; its state is drawn from the seed, unless given."""
    rule = get_rule(name, **options)
    assert rule.supports(net) is None
    if state is None:
        state = rule.init_state(net, params, Stream(seed).at("state"))
    return rule.update(net, params, state, batch, noise_for(rule, net, batch, seed))


def forward_pass(
    net: Network, params: Params, batch: Batch, state: State | None = None
) -> ForwardPass:
    """What a layered rule works from."""
    trace = net.forward(params, batch.x)
    error = net.loss.error(trace[-1].output, batch.y)
    return ForwardPass(net, params, state or State({}, {}), batch, trace, error, {})


def single_examples(batch: Batch) -> Iterable[Batch]:
    """The examples one by one: the bias gradient of such a batch is the vector d itself."""
    return (Batch(x[None], y[None]) for x, y in zip(batch.x, batch.y, strict=True))


def layer_jacobians(net: Network, params: Params, x: Tensor) -> list[Tensor]:
    """J_l = diag(D_l) W_l of each layer for a single example x (1, n_0); dense layers only."""
    trace = net.forward(params, x)
    return [step.slope[0, :, None] * params[f"{l}.weight"] for l, step in enumerate(trace, 1)]


def chain(jacobians: Sequence[Tensor]) -> Tensor:
    """J_L ... J_{l+1}, of the Jacobians in the order l+1 .. L."""
    product = jacobians[0]
    for jacobian in jacobians[1:]:
        product = jacobian @ product
    return product


def condition(matrix: Tensor) -> float:
    """Ratio of the largest to the smallest singular value."""
    return float(torch.linalg.cond(matrix))
