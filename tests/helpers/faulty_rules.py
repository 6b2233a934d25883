"""An honest rule, and rules with one planted fault each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bioplaus.learning.batching import Rule
from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import Batch, RuleConfig, State, Update
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream


class Honest(LayeredRule[RuleConfig]):
    """Backprop, once more."""

    name = "honest"
    citation = Citation(authors="Anyone", title="Of chains", year=1986, venue="Letters")
    transport = "transpose"

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport=self.transport,
            phases="one backward pass",
            update_locking=True,
            backward_locking=True,
            local=False,
            needs_derivative="transport",
            signed_errors="yes",
        )

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        deltas: list[Tensor] = []
        error = fwd.error
        for l in reversed(range(fwd.net.depth)):
            deltas.insert(0, fwd.trace[l].slope * error)
            weights = fwd.net.at(fwd.params, l)
            error = fwd.net.layers[l].adjoint(weights, fwd.trace[l].residuals, deltas[0])
        return deltas


class WithUpdate(Honest):
    """A rule whose update is done to by a function."""

    @staticmethod
    def spoil(update: Update, params: Params, batch: Batch) -> Update:
        raise NotImplementedError

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        done = super().update(net, params, state, batch, noise)
        return type(self).spoil(done, params, batch)


def spoiled(how: Callable[[Update, Params, Batch], Update]) -> type[Rule]:
    """The honest rule with one fault, under its name."""
    name = how.__name__.replace("_", "-")
    parts: dict[str, Any] = {"name": name, "spoil": staticmethod(how), "__doc__": "A fault."}
    return type(name, (WithUpdate,), parts)


def scaled(update: Update, factor: Any) -> Update:
    return update._replace(grads={name: factor * g for name, g in update.grads.items()})


@spoiled
def mutates_its_parameters(update: Update, params: Params, batch: Batch) -> Update:
    for tensor in params.values():
        tensor.mul_(0.99)
    return update


@spoiled
def mutates_its_batch(update: Update, params: Params, batch: Batch) -> Update:
    batch.x.clamp_(0)
    return update


@spoiled
def uses_torch_rand(update: Update, params: Params, batch: Batch) -> Update:
    return scaled(update, 1 + 0.1 * torch.rand(()))


@spoiled
def has_the_wrong_sign(update: Update, params: Params, batch: Batch) -> Update:
    return scaled(update, -1)


@spoiled
def has_the_wrong_sign_below(update: Update, params: Params, batch: Batch) -> Update:
    return update._replace(grads=update.grads | {"1.weight": -update.grads["1.weight"]})


@spoiled
def changes_shapes(update: Update, params: Params, batch: Batch) -> Update:
    return update._replace(grads={name: g[None] for name, g in update.grads.items()})


@spoiled
def leaves_a_layer_out(update: Update, params: Params, batch: Batch) -> Update:
    return update._replace(grads={k: g for k, g in update.grads.items() if k != "1.weight"})


@spoiled
def makes_float32(update: Update, params: Params, batch: Batch) -> Update:
    return update._replace(grads={name: g.float() for name, g in update.grads.items()})


@spoiled
def calls_item(update: Update, params: Params, batch: Batch) -> Update:
    return scaled(update, 1 / (1 + update.metrics["loss"].item()))


@spoiled
def branches_on_a_value(update: Update, params: Params, batch: Batch) -> Update:
    return scaled(update, 0.5) if update.metrics["loss"] > 1 else update


@spoiled
def reports_no_loss(update: Update, params: Params, batch: Batch) -> Update:
    return update._replace(metrics={})


@spoiled
def divides_by_zero(update: Update, params: Params, batch: Batch) -> Update:
    return scaled(update, 1 / (batch.x - batch.x).sum())


@spoiled
def raises(update: Update, params: Params, batch: Batch) -> Update:
    raise KeyError("3.weight")


class Averaged(torch.autograd.Function):
    """The mean over all replicas, through a vmap rule of its own that is wrong."""

    generate_vmap_rule = False

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor) -> tuple[Tensor, int]:
        return x.mean(in_dims[0], keepdim=True).expand(x.shape).clone(), in_dims[0]


@spoiled
def mixes_replicas(update: Update, params: Params, batch: Batch) -> Update:
    return update._replace(grads={k: Averaged.apply(g) for k, g in update.grads.items()})


class KeepsACounter(Honest):
    """A rule that counts its steps in the object."""

    name = "keeps-a-counter"

    def __init__(self, config: RuleConfig) -> None:
        super().__init__(config)
        self.steps = 0

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        self.steps += 1
        return [0.9**self.steps * d for d in super().deltas(fwd)]


class LiesAboutTransport(Honest):
    """A rule that says it knows nothing of the weights."""

    name = "lies-about-transport"
    transport = "none"


class LiesAboutTheDerivative(Honest):
    """A rule that says it needs no f'."""

    name = "lies-about-the-derivative"

    @property
    def plausibility(self) -> Plausibility:
        return super().plausibility.model_copy(update={"needs_derivative": "no"})


class OwnWeights(Honest):
    """A rule with feedback weights of its own that knows no transport, and is modest about it."""

    name = "own-weights"

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        own = {k: stream.at(k).normal(tuple(v.shape)) for k, v in params.items()}
        return State({}, own)

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        return super().deltas(fwd._replace(params=fwd.state.memory))


class NoOptimizer(Honest):
    """A rule with auxiliary parameters that nothing trains."""

    name = "no-optimizer"

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        return State({"1.extra": params["1.weight"].clone()}, {})

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        return {"1.extra": grads["1.weight"]}


class OptionsUndescribed(Honest):
    """A rule with an option that nobody explains."""

    class Config(RuleConfig):
        strength: float = 1.0

    name = "options-undescribed"


class SupportsNothing(Honest):
    """A rule for no network of the kit."""

    name = "supports-nothing"

    def supports(self, net: Network) -> str | None:
        return "it wants a hundred layers"


class RaisesInSupports(Honest):
    """A rule that breaks before it is asked to train."""

    name = "raises-in-supports"

    def supports(self, net: Network) -> str | None:
        raise RuntimeError("no such thing")


class NoCitation(Honest):
    """A rule from nowhere."""

    name = "no-citation"
    citation = None  # type: ignore[assignment]
