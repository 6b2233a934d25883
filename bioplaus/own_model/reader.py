"""A model's modules as nodes of the layer algebra, taken apart one after the other."""

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


class Reader:
    """Takes a model apart, module by module."""

    def __init__(self, shape: Shape) -> None:
        self.shapes = [shape]
        """Of one example of every value so far: the input, and what each node gives."""
        self.at = 0
        """The value that is read next."""
        self.graph: list[Node] = []
        """One for each layer of the network."""
        self.parameters: Parameters = {}
        self.places: list[Place] = []
        self.flattens = False
        """Whether a Flatten comes first: the examples are flat before they reach the network."""
        self.once = True
        """Whether the input is read at one place alone, which then may take it as a vector."""
        self._blocks: list[range] = []
        """Layers of nested Sequentials, each of them one node."""
        self.open: set[int] = set()
        """Values that an activation may follow as part of the same layer."""

    @property
    def shape(self) -> Shape:
        """Of one example, where the reading stands."""
        return self.shapes[self.at]

    def layers(self) -> tuple[Layer, ...]:
        """The network's."""
        return compile_graph(self.shapes[0], self.graph)

    def nodes(self, layers: Sequence[Layer]) -> tuple[int, ...]:
        """The number of layers in each node, () where nested Sequentials change nothing."""
        starts = node_starts(layers, self._blocks)
        if starts == node_starts(layers):
            return ()
        return tuple(end - first for first, end in pairwise([*starts, len(layers)]))

    def row(self, modules: nn.Sequential, name: str) -> None:
        """The modules of an nn.Sequential, one after the other, each as often as it stands."""
        _plain_or_refused(modules, nn.Sequential, place_of(modules, name))
        self._all(modules, name)

    def block(self, block: Residual, name: str) -> None:
        """A residual block."""
        _plain_or_refused(block, Residual, place_of(block, name))
        if self._first and isinstance(_first(block), nn.Linear):
            self._take_as_vector()
        carried = self.at
        self.append(copied(self.shape))
        self._all(block, name)
        try:
            layer = joined(self.shapes[carried], self.shape)
        except ConfigError as error:
            raise ModelError(f"{place_of(block, name)}: {error}") from None
        self.append(layer, (carried, self.at), open_for_activation=True)
        self._place(name, active=False)

    def _all(self, modules: nn.Sequential, name: str) -> None:
        for position, module in modules._modules.items():  # named_children() has each once
            assert module is not None
            first = len(self.graph)
            self.read(module, f"{name}.{position}" if name else position)
            if type_of(module) is nn.Sequential and self.rows_are_nodes:
                self._blocks.append(range(first, len(self.graph)))

    def read(self, module: nn.Module, name: str) -> None:
        """A module that reads the value where the reading stands, which then is at what it gives.

        Raises ModelError naming it where it has no place.
        """
        kind = type_of(module)
        if kind is Residual:
            assert isinstance(module, Residual)
            self.block(module, name)
        elif kind is nn.Sequential:
            assert isinstance(module, nn.Sequential)
            self.row(module, name)
        elif kind is None:
            self.unknown(module, name)
        else:
            self._known(module, kind, name)

    @property
    def rows_are_nodes(self) -> bool:
        """Whether a nested Sequential is one node, for rules that relax over nodes."""
        return True

    def unknown(self, module: nn.Module, name: str) -> None:
        """A module of no type that has a place."""
        raise ModelError(f"{place_of(module, name)}: {why_unknown(module)}")

    def _known(self, module: nn.Module, kind: type[nn.Module], name: str) -> None:
        where = place_of(module, name)
        _plain_or_refused(module, kind, where)
        if kind is nn.Identity:
            return
        try:
            if kind in ACTIVATIONS:
                self.activate(ACTIVATIONS[kind](module))
            elif self.layer(kind, module) is None:
                return
        except ConfigError as error:
            raise ModelError(f"{where}: {error}") from None
        self._place(name, active=kind not in ACTIVE)
        for own in KNOWN[kind]:
            parameter = getattr(module, own)
            if parameter is not None:
                own = PARAMETERS[own] if kind in MODULES else own
                self.parameters[f"{self.at}.{own}"] = parameter

    def layer(self, kind: type[nn.Module], module: nn.Module) -> Layer | None:
        """The layer that a module is, appended; None where it only flattens the examples."""
        layer = LAYERS[kind](module, self.shape, first=self._first)
        if kind is nn.Flatten and self._first:
            self._take_as_vector()
            self.flattens = True
            return None
        if self._first:
            self.shapes[0] = layer.in_shape
        self.append(layer, open_for_activation=kind in ACTIVE)
        return layer

    def activate(self, activation: Activation) -> None:
        """The value where the reading stands, under an activation."""
        if self.at not in self.open:
            raise ConfigError(
                "an activation must follow a Linear, Conv2d, BatchNorm or Residual, and one is "
                "enough"
            )
        layer, inputs = self.graph[self.at - 1]
        active: Layer = replace(layer, activation=activation)  # type: ignore[type-var]
        self.graph[self.at - 1] = Node(active, inputs)
        self.open.discard(self.at)

    def append(
        self, layer: Layer, inputs: tuple[int, ...] | None = None, open_for_activation: bool = False
    ) -> None:
        """A node that reads these values, or the one where the reading stands."""
        self.graph.append(Node(layer, (self.at,) if inputs is None else inputs))
        self.shapes.append(layer.out_shape)
        self.at = len(self.graph)
        if open_for_activation:
            self.open.add(self.at)

    @property
    def _first(self) -> bool:
        return not self.graph and self.once

    def _take_as_vector(self) -> None:
        self.shapes[0] = (prod(self.shapes[0]),)

    def _place(self, name: str, active: bool) -> None:
        self.places.append(Place(name, self.at - 1, active, prod(self.shape)))


def type_of(module: nn.Module) -> type[nn.Module] | None:
    """Of those that have a place, the type that a module has or derives from; None for none."""
    return next((kind for kind in type(module).__mro__ if kind in _TYPES), None)


_TYPES = {*KNOWN, Residual, nn.Sequential}


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
