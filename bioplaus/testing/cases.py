"""A case is one rule under one configuration on one network, with something to update from."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as pytree

from bioplaus.learning.batching import NoiseSource, Rule, cast, unstack
from bioplaus.learning.rule import Batch, State, Update
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.task import Task
from bioplaus.testing.networks import random_batch, random_params

Options = dict[str, object]
Inputs = tuple[Params, State, Batch, Params]
"""The arguments of `update`, but for the network."""

CPU = torch.device("cpu")
BATCH = 5
REPLICAS = 3


@dataclass(frozen=True)
class Case:
    """One rule under one configuration on one network."""

    cls: type[Rule]
    network: str
    net: Network
    options: Options = field(default_factory=dict)
    task: Task | None = None
    """Where it is trained, if not on the first digits task that it supports."""

    def __str__(self) -> str:
        return "-".join([*(f"{k}={v}" for k, v in self.options.items()), self.network])

    @property
    def where(self) -> str:
        """In words, for a verdict."""
        options = ", ".join(f"{k}={v}" for k, v in self.options.items()) or "default options"
        return f"{options}, on the {self.network} network"

    @property
    def rule(self) -> Rule:
        """A new object of the rule, so that one that hides state in itself is found out."""
        return self.cls.configured(self.options)

    def inputs(self, seed: int, dtype: torch.dtype = torch.float64) -> Inputs:
        """All that an update takes; weights near orthogonal, so that an inverse is harmless."""
        params = random_params(self.net, seed)
        for name, tensor in params.items():
            tensor += 0.1 * Stream(seed).at("nudge", name).normal(tensor.shape)
        rule = self.rule
        state = rule.init_state(self.net, params, Stream(seed).at("state"))
        batch = random_batch(self.net, BATCH, seed)
        noise = NoiseSource(rule.noise(self.net, BATCH), [seed], torch.float64, CPU).at(0)
        return (
            cast(params, dtype, CPU),
            State(cast(state.aux, dtype, CPU), cast(state.memory, dtype, CPU)),
            Batch(*(tensor.to(dtype) for tensor in batch)),
            cast(unstack(noise, 0), dtype, CPU),
        )

    def update(self, given: Inputs) -> Update:
        """One update of a new object of the rule."""
        return self.rule.update(self.net, *given)


def stacked(parts: list[Inputs]) -> Inputs:
    """Several networks' inputs as the harness stacks them."""
    together: Inputs = pytree.tree_map(lambda *tensors: torch.stack(tensors), *parts)
    return together


def replica(tree: Any, index: int) -> Any:
    """One network's part of anything stacked."""
    return pytree.tree_map(lambda tensor: tensor[index], tree)


def copied(tree: Any) -> Any:
    """Copies of all tensors."""
    return pytree.tree_map(torch.clone, tree)


def choices(annotation: object) -> tuple[object, ...]:
    """The values of an option that has a few."""
    if annotation is bool:
        return (False, True)
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(c for part in typing.get_args(annotation) for c in choices(part))
    return ()


def variants(cls: type[Rule]) -> list[Options]:
    """The default configuration, and each with one option changed to another choice."""
    found: list[Options] = [{}]
    for option, info in cls.Config.model_fields.items():
        found += [{option: c} for c in choices(info.annotation) if c != info.default]
    return found


def cases(cls: type[Rule], networks: Mapping[str, Network], task: Task | None = None) -> list[Case]:
    """Every configuration on every network that it supports; at least one case."""
    found = []
    try:
        for options in variants(cls):
            tried = [Case(cls, name, net, options, task) for name, net in networks.items()]
            found += [case for case in tried if case.rule.supports(case.net) is None]
    except Exception:  # a stranger's rule may raise anything; its checks say what
        found = []
    name, net = next(iter(networks.items()))
    return found or [Case(cls, name, net, {}, task)]
