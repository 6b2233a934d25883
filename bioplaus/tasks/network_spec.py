"""A task's network as data: a row of layers, or the nodes of a graph."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from bioplaus.errors import ConfigError
from bioplaus.network.layer import Init, InitScheme, Shape
from bioplaus.network.losses import Loss
from bioplaus.network.network import Network
from bioplaus.network.toml_graph import build_nodes, check_nodes
from bioplaus.network.toml_layers import (
    KINDS,
    Conv2dSpec,
    DenseSpec,
    DropoutSpec,
    LayerSpec,
    build_layers,
)
from bioplaus.network.toml_nodes import NodeSpec, filled_in
from bioplaus.system.toml_files import TABLE
from bioplaus.tasks import layer_plugins as layer_plugins
from bioplaus.tasks.variations import vary_layers

_OF_LAYERS = frozenset(
    field for kind in (DenseSpec, Conv2dSpec, DropoutSpec) for field in kind.model_fields
)


class NetworkSpec(BaseModel):
    """Layers from the input up, or the nodes of a graph, and how their weights start."""

    model_config = TABLE

    layers: tuple[LayerSpec, ...] | None = Field(None, min_length=1, strict=False)
    nodes: Annotated[tuple[NodeSpec, ...] | None, BeforeValidator(filled_in)] = Field(
        None, min_length=1, strict=False, description="in the order in which they are computed"
    )
    init: InitScheme = "orthogonal"
    gain: float = Field(1.0, gt=0)
    steps: int | None = Field(None, gt=0, le=2**16, description="of a network in time")

    @model_validator(mode="before")
    @classmethod
    def _layers_apart(cls, table: Any) -> Any:
        """ConfigError where what belongs to a layer stands beside `layers` or `nodes`."""
        for name in table if isinstance(table, dict) else ():
            if name in KINDS:
                raise ConfigError(
                    f"network.{name}: {name} is a layer, not a field of [network]: write "
                    f'{{ type = "{name}", ... }} among layers = [...]'
                )
            if name not in cls.model_fields and name in _OF_LAYERS:
                raise ConfigError(
                    f"network.{name}: {name} is of one layer, not of [network]: write it into a "
                    "table of layers = [...] or nodes = [...]"
                )
        return table

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.layers is None) == (self.nodes is None):
            raise ConfigError(
                "a network is either layers = [...], from the input up, or nodes = [...], a graph"
            )
        if self.nodes is not None:
            if self.steps is not None:
                raise ConfigError("a graph has no time: leave out steps, or write layers = [...]")
            check_nodes(self.nodes)
        return self

    def build(
        self, in_shape: Shape, loss: Loss, classes: int | None, numbers: bool = False
    ) -> Network:
        """The network on data of that shape; ConfigError where a layer does not fit.

        classes: how many, or how many numbers are taught; None for as many as the last layer has
        units.
        """
        leaders: tuple[int, ...] = ()
        if self.nodes is not None:
            layers, leaders = build_nodes(self.nodes, in_shape)
        else:
            assert self.layers is not None
            layers = build_layers(self.layers, in_shape, self.steps)
        if classes is None:
            classes = layers[-1].out_shape[0]
        units = layers[-1].out_shape
        if numbers and len(units) == 1 and units[0] < classes:
            raise ConfigError(
                f"the last layer has {units[0]} units, and {classes} numbers are to be learned for "
                f"each example: give it {classes}"
            )
        return Network(layers, loss, classes, Init(self.init, self.gain), leaders=leaders)

    def varied(self, depth: int | None, width: int | None, activation: str | None) -> NetworkSpec:
        """Another depth, width or activation, where one is given; ConfigError."""
        changes = depth, width, activation
        if changes == (None, None, None):
            return self
        if self.layers is None:
            raise ConfigError(
                "depth, width and activation vary a row of layers, and this network is a graph of "
                "nodes: change its file"
            )
        return self.model_copy(update={"layers": vary_layers(self.layers, *changes)})
