"""Learning rules on one's own `nn.Sequential`: a drop-in for `loss.backward()`."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioplaus.errors import ModelError, UnsupportedError
from bioplaus.learning.batching import NoiseSource, Rule, apart, cast, unstack
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Batch, LearningRule, NoiseSpec, State, Update
from bioplaus.network.batch_norm import Norms
from bioplaus.network.layer import Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.own_model.read_modules import read_modules
from bioplaus.plugins import defaults, registry


class RuleState:
    """What a rule keeps between calls of `backward`; pass it back in the next one.

    `aux` are the rule's learned auxiliary parameters (feedback weights, inverses). Each
    call writes their `.grad`, and steps them with the rule's own optimizer where it has
    one; where `trained_by_caller` is true, give them to your optimizer beside the model's.
    """

    def __init__(self, rule: Rule, net: Network, state: State, seed: int) -> None:
        self.rule, self.net, self.seed, self.step = rule, net, seed, 0
        self.aux: Params = state.aux
        self.memory: Params = state.memory
        spec = rule.aux_optimizer
        self.trained_by_caller = bool(state.aux) and spec == "same"
        own = spec if isinstance(spec, OptimizerSpec) and state.aux else None
        self._optimizer = own.build(state.aux.values()) if own else None

    def advance(self, aux_grads: Params, memory: Params) -> None:
        """Take over one update."""
        for name, tensor in self.aux.items():
            tensor.grad = aux_grads[name]
        if self._optimizer is not None:
            self._optimizer.step()
        self.memory = memory
        self.step += 1


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
        state = first_state(configured, net, params, seed)
    elif state.rule.name != rule or state.rule.config != configured.config or state.net != net:
        raise ModelError("the state is of another rule, configuration or model: start with None")
    before = State(state.aux, state.memory)
    batch = Batch(x.reshape(-1, *net.in_shape), y)
    norms = Norms(model, net)
    when = When(state.seed, state.step, model.training)
    update = update_at(configured, net, params, before, batch, when, norms)
    fixed = norms.running(model.training)
    output = configured.predict(net, params | fixed, before, batch.x)
    owned = [*params.values(), *state.aux.values()]
    grads = apart(update.grads, owned)
    for name, parameter in names.items():
        if parameter.requires_grad:
            grad = grads[name]
            grad = grad + update.penalty[name] if name in update.penalty else grad
            parameter.grad = grad if parameter.grad is None else parameter.grad + grad
    state.advance(apart(update.aux_grads, owned), apart(update.memory, owned))
    return Backward(update.metrics["loss"], output, state)


class When(NamedTuple):
    """Which random numbers a step gets."""

    seed: int
    step: int
    training: bool
    """Whether dropout drops."""


def update_at(
    rule: Rule,
    net: Network,
    params: Params,
    state: State,
    batch: Batch,
    when: When,
    norms: Norms,
) -> Update:
    """One update of one network, with the noise that the rule and the layers ask for.

    In training, the running statistics of `norms` take the batch in.
    """
    norms.check(batch.x.shape[0], when.training)
    count, x = batch.x.shape[0], batch.x
    noise = noise_at(rule, net, x, when)
    shapes = net.uniform_shapes(count) if when.training else {}
    drawn = {name: NoiseSpec(shape, "uniform") for name, shape in shapes.items()}
    masks = NoiseSource(drawn, [when.seed], x.dtype, x.device, purpose="dropout").at(when.step)
    params = params | unstack(masks, 0) | norms.running(when.training)
    if when.training and norms.track:
        norms.update(net.forward(params, x))
    return rule.variant(when.step).update(net, params, state, batch, noise)


def noise_at(rule: Rule, net: Network, x: Tensor, when: When) -> Params:
    """The noise that the rule asks for at that step, for a batch x."""
    specs = rule.noise(net, x.shape[0])
    return unstack(NoiseSource(specs, [when.seed], x.dtype, x.device).at(when.step), 0)


def first_state(rule: Rule, net: Network, params: Params, seed: int) -> RuleState:
    """A rule's state before the first step; UnsupportedError where it cannot train the network."""
    reason = LearningRule.supports(rule, net) or rule.supports(net)
    if reason:
        raise UnsupportedError(f"{rule.name} cannot train this model: {reason}")
    some = next(iter(params.values()))
    on_cpu = cast(params, torch.float64, torch.device("cpu"))
    drawn = rule.init_state(net, on_cpu, Stream(seed).at("state"))
    return RuleState(
        rule, net, State(*(cast(part, some.dtype, some.device) for part in drawn)), seed
    )


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
