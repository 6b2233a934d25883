"""One's own `nn.Sequential` as layers of the layer algebra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod
from typing import NamedTuple

from torch import nn

from bioplaus.errors import ConfigError, ModelError
from bioplaus.network.activations import Activation
from bioplaus.network.batch_norm import MODULES, PARAMETERS
from bioplaus.network.graph import Node, compile_graph
from bioplaus.network.layer import Layer, Shape
from bioplaus.network.network import node_starts
from bioplaus.network.residual import copied, joined
from bioplaus.nn import Residual
from bioplaus.own_model.module_layers import ACTIVATIONS, ACTIVE, KNOWN, LAYERS, why_unknown
from bioplaus.own_model.plain_modules import check_plain

Parameters = dict[str, nn.Parameter]


class Place(NamedTuple):
    """Where a module went."""

    name: str
    """As torch names it, "2" or "block.0"; "" for the model itself."""
    layer: int
    """The network's, from 0."""
    active: bool
    """Whether the module's output is the layer's, or its pre-activation."""
    units: int
    """Of the output; the last ones of the layer's, which may carry others beside them."""


class Reading(NamedTuple):
    """A model on examples of one shape."""

    layers: tuple[Layer, ...]
    parameters: Parameters
    """By the network's names, one parameter for each place that uses it."""
    shape: Shape
    """Of one example, as the model itself is called."""
    nodes: tuple[int, ...]
    """How many layers each node has where nested Sequentials make them, else ()."""
    places: tuple[Place, ...]
    """Of the modules that have an output of their own in the network, as they are called."""


def read_modules(model: nn.Sequential, shape: Shape) -> Reading:
    """The model as layers, and its parameters by the network's names.

    A model that begins with Linear or Flatten reads its examples as vectors. Raises
    ModelError naming the module that has no place.
    """
    if not isinstance(model, nn.Sequential):
        wrapped = getattr(model, "_orig_mod", getattr(model, "module", None))
        hint = ": give the model inside it" if isinstance(wrapped, nn.Sequential) else ""
        kind = model.__name__ if isinstance(model, type) else type(model).__name__
        raise ModelError(f"the model must be an nn.Sequential, not {kind}{hint}")
    reader = _Reader(shape)
    if isinstance(model, Residual):
        reader.block(model, "")
    else:
        reader.row(model, "")
    if not reader.parameters:
        raise ModelError("the model has no Linear or Conv2d module: there is nothing to train")
    if len(reader.shape) != 1:
        raise ModelError(
            f"the model's last layer gives the shape {reader.shape}, not a vector: end with "
            "Flatten and Linear"
        )
    layers = reader.layers()
    called = shape if reader.flattens else layers[0].in_shape
    return Reading(layers, reader.parameters, called, reader.nodes(layers), tuple(reader.places))


class _Reader:
    """Takes a model apart, module by module."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        """Of one example, where the reading stands."""
        self.graph: list[Node] = []
        """One for each layer of the network."""
        self.parameters: Parameters = {}
        self.places: list[Place] = []
        self.flattens = False
        """Whether a Flatten comes first: the examples are flat before they reach the network."""
        self._blocks: list[range] = []
        """Layers of nested Sequentials, each of them one node."""
        self._below = shape
        """Of one example, where the network begins."""
        self._open = False
        """Whether an activation may follow the last layer."""

    def layers(self) -> tuple[Layer, ...]:
        """The network's."""
        return compile_graph(self._below, self.graph)

    def nodes(self, layers: Sequence[Layer]) -> tuple[int, ...]:
        """The number of layers in each node, () where nested Sequentials change nothing."""
        starts = node_starts(layers, self._blocks)
        if starts == node_starts(layers):
            return ()
        return tuple(end - first for first, end in pairwise([*starts, len(layers)]))

    def row(self, modules: nn.Sequential, prefix: str) -> None:
        """The modules of an nn.Sequential, one after the other, each as often as it stands."""
        name = prefix.rstrip(".")
        _plain_or_refused(modules, nn.Sequential, place_of(modules, name))
        self._all(modules, prefix)

    def block(self, block: Residual, prefix: str) -> None:
        """A residual block."""
        name = prefix.rstrip(".")
        _plain_or_refused(block, Residual, place_of(block, name))
        if not self.graph and isinstance(_first(block), nn.Linear):
            self.shape = (prod(self.shape),)
        below, carried = self.shape, len(self.graph)
        self._append(copied(below), open_for_activation=False)
        self._all(block, prefix)
        try:
            self._append(joined(below, self.shape), (carried, len(self.graph)))
        except ConfigError as error:
            raise ModelError(f"{place_of(block, name)}: {error}") from None
        self._place(name, active=False)

    def _all(self, modules: nn.Sequential, prefix: str) -> None:
        for position, module in modules._modules.items():  # named_children() has each once
            assert module is not None
            name = f"{prefix}{position}"
            if isinstance(module, Residual):
                self.block(module, f"{name}.")
            elif isinstance(module, nn.Sequential):
                first = len(self.graph)
                self.row(module, f"{name}.")
                self._blocks.append(range(first, len(self.graph)))
            else:
                self._module(module, name)

    def _module(self, module: nn.Module, name: str) -> None:
        where = place_of(module, name)
        kind = next((k for k in type(module).__mro__ if k in KNOWN), None)
        if kind is None:
            raise ModelError(f"{where}: {why_unknown(module)}")
        _plain_or_refused(module, kind, where)
        if kind is nn.Identity:
            return
        try:
            if kind in ACTIVATIONS:
                self._activate(ACTIVATIONS[kind](module))
            else:
                layer = LAYERS[kind](module, self.shape, first=not self.graph)
                if kind is nn.Flatten and not self.graph:
                    self.shape = self._below = layer.out_shape
                    self.flattens = True
                    return
                self._append(layer, open_for_activation=kind in ACTIVE)
        except ConfigError as error:
            raise ModelError(f"{where}: {error}") from None
        self._place(name, active=kind not in ACTIVE)
        number = len(self.graph)
        for own in KNOWN[kind]:
            parameter = getattr(module, own)
            if parameter is not None:
                own = PARAMETERS[own] if kind in MODULES else own
                self.parameters[f"{number}.{own}"] = parameter

    def _activate(self, activation: Activation) -> None:
        if not self._open:
            raise ConfigError(
                "an activation must follow a Linear, Conv2d, BatchNorm or Residual, and one is "
                "enough"
            )
        layer, inputs = self.graph.pop()
        self.graph.append(Node(replace(layer, activation=activation), inputs))  # type: ignore[type-var]
        self._open = False

    def _append(
        self, layer: Layer, inputs: tuple[int, ...] | None = None, open_for_activation: bool = True
    ) -> None:
        """A node that reads these, or the one before it."""
        if not self.graph:
            self._below = layer.in_shape
        self.graph.append(Node(layer, (len(self.graph),) if inputs is None else inputs))
        self.shape, self._open = layer.out_shape, open_for_activation

    def _place(self, name: str, active: bool) -> None:
        self.places.append(Place(name, len(self.graph) - 1, active, prod(self.shape)))


def place_of(module: nn.Module, name: str) -> str:
    """A module as messages name it."""
    kind = type(module).__name__
    return f"module {name} ({kind})" if name else f"the model ({kind})"


def _plain_or_refused(module: nn.Module, kind: type[nn.Module], where: str) -> None:
    try:
        check_plain(module, kind, KNOWN.get(kind, ()))
    except ConfigError as error:
        raise ModelError(f"{where}: {error}") from None


def _first(modules: nn.Sequential) -> nn.Module | None:
    """The first module inside, however deep."""
    for module in modules:
        return _first(module) if isinstance(module, nn.Sequential) else module
    return None


def told_shape(model: nn.Sequential) -> Shape | None:
    """Of one example, where the model's first module that is not indifferent to it tells."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            return (module.in_features,)
        if isinstance(module, nn.BatchNorm1d):
            return (module.num_features,)
        if not isinstance(module, nn.Sequential | nn.Flatten | nn.Identity | nn.Dropout):
            return None
    return None
