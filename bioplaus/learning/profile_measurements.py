"""Measurements behind a plausibility profile: what a rule's updates really depend on.

Each changes something that one batch's forward pass cannot feel, with the rule's state
held, and returns by how much updates move, relative to their norm. Where activities
relax they leave the forward pass and do feel it: for such rules this says nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from bioplaus.learning.batching import Rule
from bioplaus.learning.rule import Batch, State
from bioplaus.network.activations import Activation
from bioplaus.network.layer import Layer, Params
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron, Surrogate
from bioplaus.numerics.random_streams import Stream


class Setting(NamedTuple):
    """What a rule updates from: the arguments of `LearningRule.update`, one network's."""

    net: Network
    params: Params
    state: State
    batch: Batch
    noise: Params


class WeightTransport(NamedTuple):
    """How updates below a layer change with its weights alone; the largest of all layers."""

    signs_flipped: float
    """When the weights move by their own norm, many through zero."""
    signs_kept: float
    """When they move less than the smallest of them is large."""


class DerivativeUse(NamedTuple):
    """How updates change with the slope f' of one layer alone; the largest of all layers."""

    own: float
    """The updates of that layer."""
    elsewhere: float
    """The updates of any other layer."""


def weight_transport(rule: Rule, at: Setting, stream: Stream) -> WeightTransport:
    """Move each layer's weights where its input has no component, and watch those below.

    Of layers whose weights are a matrix; the batch must be smaller than their input is wide.
    """
    before = rule.update(*at).grads
    trace = at.net.forward(at.params, at.batch.x)
    flipped = kept = 0.0
    for l in range(1, at.net.depth):
        layer, p = at.net.layers[l], at.net.at(at.params, l)
        weight = p.get("weight")
        if weight is None or weight.dim() != 2:
            continue
        direction = unseen_direction(weight, layer.read(trace[l].input), stream.at(l))
        steps = (
            weight.norm() / direction.norm(),
            0.5 * (weight / direction).abs().min(),
        )
        changes = []
        for step in steps:
            moved = at.net.join([p | {"weight": weight + step * direction}], first=l)
            after = rule.update(*at._replace(params=at.params | moved)).grads
            changes.append(_change(at.net, before, after, range(l)))
        flipped, kept = max(flipped, changes[0]), max(kept, changes[1])
    return WeightTransport(flipped, kept)


def unseen_direction(weight: Tensor, inputs: Tensor, stream: Stream) -> Tensor:
    """A random change of weights (n, m) that answers to none of the inputs (N, m), N < m."""
    if inputs.shape[0] >= inputs.shape[1]:
        raise ValueError(
            f"{inputs.shape[0]} examples leave no direction free in {inputs.shape[1]} inputs"
        )
    basis, _ = torch.linalg.qr(inputs.T)
    direction = stream.normal(weight.shape)
    for _ in range(2):  # once leaves the rounding of a nearly dependent batch
        direction = direction - (direction @ basis) @ basis.T
    return direction


def derivative_use(rule: Rule, at: Setting) -> DerivativeUse:
    """Give each layer a wrong slope, the same activity, and watch its own update and the others."""
    before = rule.update(*at).grads
    own = elsewhere = 0.0
    layers = at.net.layers
    for l, layer in enumerate(layers):
        changed = replace(at.net, layers=(*layers[:l], misjudged(layer), *layers[l + 1 :]))
        after = rule.update(*at._replace(net=changed)).grads
        others = (k for k in range(at.net.depth) if k != l)
        own = max(own, _change(at.net, before, after, [l]))
        elsewhere = max(elsewhere, _change(at.net, before, after, others))
    return DerivativeUse(own, elsewhere)


@dataclass(frozen=True)
class WrongSlope(Activation):
    """An activation whose values and inverse are right, and whose slope is not."""

    inner: Activation
    name: ClassVar[str] = "wrong slope"

    def __post_init__(self) -> None:
        for fact in ("invertible", "zero_at_zero"):
            object.__setattr__(self, fact, getattr(self.inner, fact))

    def __call__(self, a: Tensor) -> Tensor:
        return self.inner(a)

    def slope_at(self, a: Tensor) -> Tensor:
        return self.inner.slope_at(a) * (1.5 + 0.5 * torch.sin(3 * a))

    def inverse(self, h: Tensor) -> Tensor:
        return self.inner.inverse(h)


@dataclass(frozen=True)
class WrongSurrogate(Surrogate):
    """The same of a spiking unit's surrogate."""

    inner: Surrogate
    name: ClassVar[str] = "wrong surrogate"

    def slope(self, x: Tensor, threshold: float) -> Tensor:
        return self.inner.slope(x, threshold) * (1.5 + 0.5 * torch.sin(3 * x))


def misjudged(layer: Layer) -> Layer:
    """The layer with the slope of its activation wrong."""
    changed = copy.copy(layer)
    right = layer.activation
    wrong: Activation = WrongSlope(right)
    if isinstance(right, Neuron):
        surrogate = WrongSurrogate(right.surrogate.scale, right.surrogate)
        wrong = replace(right, surrogate=surrogate)
    object.__setattr__(changed, "activation", wrong)
    return changed


def _change(net: Network, before: Params, after: Params, layers: Iterable[int]) -> float:
    """The largest ||after - before|| / ||before|| of any tensor of these layers."""
    pairs = [
        (after[name], old)
        for l in layers
        for name, old in net.join([net.at(before, l)], first=l).items()
    ]
    return max((_relative(new, old) for new, old in pairs), default=0.0)


def _relative(new: Tensor, old: Tensor) -> float:
    """||new - old|| / ||old||; infinite where only old is 0, NaN where either is not finite."""
    distance = float((new - old).norm())
    return distance / float(old.norm()) if old.any() else (float("inf") if distance else 0.0)
