"""What a rule keeps while it trains one's own model, and one step of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bioplaus.errors import UnsupportedError
from bioplaus.learning.batching import NoiseSource, Rule, apart, cast, unstack
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Batch, LearningRule, NoiseSpec, State, Update
from bioplaus.network.batch_norm import Norms
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream


class RuleState:
    """What a rule keeps between calls of `backward`; pass it back in the next one.

    `aux` are the rule's learned auxiliary parameters (feedback weights, inverses). Each
    call writes their `.grad`: where `trained_by_caller` is true, give them to your optimizer
    beside the model's, and gradients add to those that are there, as the model's do; where
    the rule has an optimizer of its own, the call steps it, and gradients are its own.
    """

    def __init__(self, rule: Rule, net: Network, params: Params, seed: int) -> None:
        """The state before the first step; UnsupportedError where the rule cannot train net."""
        reason = LearningRule.supports(rule, net) or rule.supports(net)
        if reason:
            raise UnsupportedError(f"{rule.name} cannot train this model: {reason}")
        some = next(iter(params.values()))
        on_cpu = cast(params, torch.float64, torch.device("cpu"))
        drawn = rule.init_state(net, on_cpu, Stream(seed).at("state"))
        self.rule, self.net, self.seed, self.step = rule, net, seed, 0
        self.aux, self.memory = (cast(part, some.dtype, some.device) for part in drawn)
        spec = rule.aux_optimizer
        self.trained_by_caller = bool(self.aux) and spec == "same"
        own = spec if isinstance(spec, OptimizerSpec) and self.aux else None
        self.optimizer = own.build(self.aux.values()) if own else None
        """The rule's own, of `aux`."""

    def values(self) -> State:
        """As the rule reads it."""
        return State(self.aux, self.memory)

    @torch.no_grad()
    def take(self, state: State) -> None:
        """Another state's values, in this one's precision: optimizers keep their tensors."""
        for name, tensor in state.aux.items():
            self.aux[name].copy_(tensor)
        for name, tensor in state.memory.items():
            here = self.memory[name]
            self.memory[name] = tensor.to(here.device, here.dtype, copy=True)

    def update(self, params: Params, batch: Batch, norms: Norms, training: bool) -> Update:
        """This step's, in tensors that nobody else owns; refreshed first where that is due.

        In training, the running statistics of `norms` take the batch in.
        """
        every = self.rule.refresh_every
        if every and self.step % every == 0:
            stream = Stream(self.seed).at("refresh", self.step)
            self.take(self.rule.refresh(self.net, params, self.values(), batch, stream))
        update = self.look(params, batch, norms, training)
        owned = [*params.values(), *self.aux.values()]
        return update._replace(
            grads=apart(update.grads, owned),
            aux_grads=apart(update.aux_grads, owned),
            memory=apart(update.memory, owned),
        )

    def look(self, params: Params, batch: Batch, norms: Norms, training: bool) -> Update:
        """This step's update, with the noise that the rule and the layers ask for."""
        count = batch.x.shape[0]
        norms.check(count, training)
        noise = self._draw(self.rule.noise(self.net, count), batch.x)
        shapes = self.net.uniform_shapes(count) if training else {}
        drawn = {name: NoiseSpec(shape, "uniform") for name, shape in shapes.items()}
        params = params | self._draw(drawn, batch.x, "dropout") | norms.running(training)
        if training and norms.track:
            norms.update(self.net.forward(params, batch.x))
        rule = self.rule.variant(self.step)
        return rule.update(self.net, params, self.values(), batch, noise)

    def finish(self, update: Update, *, add: bool) -> None:
        """Take an update over: the auxiliary parameters' gradients, and the memory.

        add: to the gradients that are there, of parameters that the caller trains.
        """
        write_gradients(self.aux, update.aux_grads, add=add and self.trained_by_caller)
        if self.optimizer is not None:
            self.optimizer.step()
        self.memory = update.memory
        self.step += 1

    def _draw(self, specs: Mapping[str, NoiseSpec], like: Tensor, purpose: str = "noise") -> Params:
        source = NoiseSource(specs, [self.seed], like.dtype, like.device, purpose=purpose)
        return unstack(source.at(self.step), 0)


def write_gradients(owners: Mapping[str, Tensor], grads: Params, *, add: bool) -> None:
    """Gradients into `.grad`, added to those that are there or in their place."""
    for name, owner in owners.items():
        if not add or owner.grad is None:
            owner.grad = grads[name]
        else:
            owner.grad.add_(grads[name])


def with_penalty(update: Update) -> Params:
    """The gradients with those of the rule's own regulariser."""
    grads, penalty = update.grads, update.penalty
    return {name: g + penalty[name] if name in penalty else g for name, g in grads.items()}
