"""What a rule keeps while it trains one's own model, and one step of it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import torch
from torch import Tensor

from bioplaus.errors import ModelError, UnsupportedError
from bioplaus.learning.answers import noise_of, resting_at, state_of, variant_at
from bioplaus.learning.batching import NoiseSource, Rule, apart, cast, unstack
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Batch, LearningRule, NoiseSpec, State, Update
from bioplaus.network.layer import Params
from bioplaus.numerics.random_streams import Stream
from bioplaus.own_model.own_network import OwnNetwork
from bioplaus.system.shell import bioplaus


class RuleState:
    """What a rule keeps between calls of `backward`; pass it back in the next one.

    `aux` are the rule's learned auxiliary parameters (feedback weights, inverses). Each
    call writes their `.grad`: where `trained_by_caller` is true, give them to your optimizer
    beside the model's, and gradients add to those that are there, as the model's do; where
    the rule has an optimizer of its own, the call steps it, and gradients are its own.
    """

    def __init__(self, rule: Rule, own: OwnNetwork, seed: int) -> None:
        """The state before the first step; UnsupportedError where the rule cannot train it."""
        net, params = own.net, own.params()
        reason = LearningRule.supports(rule, net) or rule.supports(net)
        if reason is None and rule.needs == "views":
            reason = "it learns from two views of each example, and is for tasks that have them"
        if reason is None and rule.needs == "examples":
            reason = "it learns to make whole examples again, and is for tasks whose goal that is"
        if reason:
            fitting = f"`{bioplaus('list', 'tasks', '--rule', rule.name)}` names tasks that it can"
            raise UnsupportedError(f"{rule.name} cannot train this model: {reason}; {fitting}")
        on_cpu = cast(params, torch.float64, torch.device("cpu"))
        drawn = state_of(rule, net, on_cpu, Stream(seed).at("state"))
        self.rule, self.net, self.seed, self.step = rule, net, seed, 0
        self.aux, self.memory = (cast(part, own.some.dtype, own.some.device) for part in drawn)
        spec = rule.aux_optimizer
        self.trained_by_caller = bool(self.aux) and spec == "same"
        self.optimizer: torch.optim.Optimizer | None = None
        """The rule's own, of `aux`."""
        if isinstance(spec, OptimizerSpec) and self.aux:
            self.optimizer = spec.build(self.aux.values())
        self._check_ties(own.ties())

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

    def update(self, own: OwnNetwork, batch: Batch) -> Update:
        """This step's, in tensors that nobody else owns; refreshed first where that is due.

        Dropout and BatchNorm do as the modules' modes say; running statistics take the batch in.
        """
        count = batch.x.shape[0]
        own.norms.check(count, training=True)
        params, every = own.params(), self.rule.refresh_every
        if every and self.step % every == 0:
            stream = Stream(self.seed).at("refresh", self.step)
            self.take(self.rule.refresh(self.net, params, self.values(), batch, stream))
        masks = self._draw(own.masks(count), batch.x, "dropout")
        at_work = params | masks | own.norms.running(training=True)
        if own.norms.track:
            own.norms.update(self.net.forward(at_work, batch.x))
        update = self._update(at_work, batch)
        owned = [*params.values(), *self.aux.values()]
        memory = apart(update.memory, owned)
        owned += [
            *self.memory.values(),
            *memory.values(),
        ]  # what is added to a gradient stays there
        grads = each_apart(update.grads, owned)
        aux_grads = each_apart(update.aux_grads, [*owned, *grads.values()])
        return update._replace(grads=grads, aux_grads=aux_grads, memory=memory)

    def look(self, own: OwnNetwork, batch: Batch) -> Update:
        """This step's update as in `eval` mode; nothing is changed."""
        return self._update(own.params() | own.norms.running(training=False), batch)

    def write(self, own: OwnNetwork, update: Update, *, add: bool) -> None:
        """This step's gradients, the model's and the auxiliary parameters', into `.grad`.

        What rests has none: frozen parameters, what the rule lets rest in this step, and what
        the caller trains beside a frozen one. add: to the gradients that are there, of
        parameters that the caller trains.
        """
        rule = variant_at(self.rule, self.step)
        resting = resting_at(rule, self.net, self.step, own.params(), self.values())
        frozen = own.names.keys() - own.trained().keys()
        learning = {id(p) for name, p in own.names.items() if name not in resting.params}
        still = {name for name, p in own.names.items() if id(p) not in learning}
        write_gradients(own.names, update.total, frozen | still, add=add)
        beside = self.aux.keys() & frozen if self.trained_by_caller else set()
        idle = resting.aux | beside
        write_gradients(self.aux, update.aux_grads, idle, add=add and self.trained_by_caller)

    def finish(self, update: Update) -> None:
        """Step the rule's own optimizer, and take the next memory over."""
        if self.optimizer is not None:
            self.optimizer.step()
        self.memory = update.memory
        self.step += 1

    def noise(self, batch: Batch) -> Params:
        """What the rule asks for at this step."""
        return self._draw(noise_of(self.rule, self.net, batch.x.shape[0]), batch.x)

    def _update(self, params: Params, batch: Batch) -> Update:
        rule = variant_at(self.rule, self.step)
        return rule.update(self.net, params, self.values(), batch, self.noise(batch))

    def check_place(self, own: OwnNetwork) -> None:
        """ModelError where the model went to another device or precision without the state."""
        for tensor in (*self.aux.values(), *self.memory.values()):
            here, there = (tensor.dtype, tensor.device), (own.some.dtype, own.some.device)
            if tensor.is_floating_point() and here != there:
                raise ModelError(
                    f"the rule's tensors are {here[0]} on {here[1]}, but the model's {there[0]} on "
                    f"{there[1]}: learner.to(...) moves both"
                )

    def _check_ties(self, ties: list[list[str]]) -> None:
        """UnsupportedError where the rule trains a weight beside one that two layers share.

        The shared one learns what its places learn together, its companions would not.
        """
        for names in ties:
            if self.trained_by_caller and self.aux.keys() & set(names):
                raise UnsupportedError(
                    f"{self.rule.name} cannot train this model: it learns a feedback weight beside "
                    f"each layer's own, and {' and '.join(names)} are one tensor; untie them, or "
                    "choose a rule without learned feedback"
                )

    def _draw(self, specs: Mapping[str, NoiseSpec], like: Tensor, purpose: str = "noise") -> Params:
        source = NoiseSource(specs, [self.seed], like.dtype, like.device, purpose=purpose)
        return unstack(source.at(self.step), 0)


def each_apart(grads: Params, owned: Iterable[Tensor]) -> Params:
    """As `apart`, and of each other: what two gradients share would be added to twice."""
    found, taken = apart(grads, owned), set()
    for name, grad in found.items():
        place = grad.untyped_storage().data_ptr()
        found[name] = grad.clone() if place in taken else grad
        taken.add(place)
    return found


def write_gradients(
    owners: Mapping[str, Tensor], grads: Params, frozen: Container[str], *, add: bool
) -> None:
    """Gradients into `.grad`, the sum of its names' where a tensor has several.

    add: to those that are there, as autograd does, and leave those of frozen tensors; else in
    their place, and frozen tensors have none, so that an optimizer passes them by.
    """
    done: set[int] = set()
    for name, owner in owners.items():
        first = id(owner) not in done
        done.add(id(owner))
        if name in frozen:
            owner.grad = owner.grad if add else None
        elif owner.grad is None or (first and not add):
            owner.grad = grads[name]
        else:
            owner.grad.add_(grads[name])
