"""The layer tables of task files: each kind of layer with the fields that are its own."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, WrapSerializer, WrapValidator, field_validator

from bioplaus.errors import ConfigError, closest
from bioplaus.network.activations import parse_activation
from bioplaus.network.conv import Conv2d
from bioplaus.network.conv1d import Conv1d
from bioplaus.network.dropout import Dropout
from bioplaus.network.graph import Node, compile_graph
from bioplaus.network.layer import Dense, Layer, Shape, Tower
from bioplaus.network.layer_kind import built, dumped, or_other, other_kinds
from bioplaus.network.pooling import AvgPool2d, Flatten, MaxPool2d
from bioplaus.network.recurrent import Recurrent
from bioplaus.network.residual import copied, joined
from bioplaus.network.time import AtEachStep
from bioplaus.network.toml_norms import BatchNormSpec, GroupNormSpec, LayerNormSpec
from bioplaus.network.toml_tables import MOST, ActiveSpec, Spec
from bioplaus.network.toml_time import EncodeSpec, ReadoutSpec, layers_in_time
from bioplaus.network.truncation import Truncate, TruncatedDense


class DenseSpec(ActiveSpec):
    """All-to-all weights."""

    type: Literal["dense"] = "dense"
    units: int = Field(gt=0, le=MOST)
    truncate: int | None = Field(
        None,
        gt=0,
        le=MOST,
        description="each unit leaves out so many largest and smallest products",
    )
    recurrent: bool | None = Field(
        None, description="in a network in time, weights between its spiking units, a step later"
    )
    reads_vectors: ClassVar[bool] = True

    @field_validator("recurrent")
    @classmethod
    def _or_left_out(cls, recurrent: bool | None) -> bool | None:
        return recurrent or None

    @property
    def needs_time(self) -> bool:
        return super().needs_time or self.recurrent is not None

    def at_each_step(self, below: Shape, steps: int) -> Layer:
        layer = super().at_each_step(below, steps)
        if self.recurrent is None:
            return layer
        assert isinstance(layer, AtEachStep)
        return Recurrent(layer.inner, steps, layer.activation, layer.delay)

    def build(self, below: Shape) -> Layer:
        width = _width(self.type, below)
        if self.truncate is not None:
            return TruncatedDense(width, self.units, self.truncate, self.function, self.bias)
        return Dense(width, self.units, self.function, self.bias)


class TowerSpec(ActiveSpec):
    """Square weights on the first units below (GAIT-prop)."""

    type: Literal["tower"] = "tower"
    units: int = Field(gt=0, le=MOST)
    reads_vectors: ClassVar[bool] = True

    def build(self, below: Shape) -> Layer:
        return Tower(_width(self.type, below), self.units, self.function, self.bias)


class Conv2dSpec(ActiveSpec):
    """A convolution with a square kernel."""

    type: Literal["conv2d"] = "conv2d"
    channels: int = Field(gt=0, le=MOST)
    kernel: int = Field(gt=0, le=MOST)
    stride: int = Field(1, gt=0, le=MOST)
    padding: int = Field(0, ge=0, le=MOST)
    reads: int | None = Field(
        None, gt=0, le=MOST, description="only the first channels below are read; default all"
    )

    def build(self, below: Shape) -> Layer:
        return Conv2d(
            below,
            self.channels,
            self.kernel,
            self.stride,
            self.padding,
            self.function,
            self.bias,
            self.reads,
        )


class Conv1dSpec(ActiveSpec):
    """A convolution along a signal: a vector, or an image of one row, which it gives, too."""

    type: Literal["conv1d"] = "conv1d"
    channels: int = Field(gt=0, le=MOST)
    kernel: int = Field(gt=0, le=MOST)
    stride: int = Field(1, gt=0, le=MOST)
    padding: int = Field(0, ge=0, le=MOST)

    def build(self, below: Shape) -> Layer:
        geometry = self.channels, self.kernel, self.stride, self.padding
        return Conv1d(below, *geometry, self.function, self.bias)


class MaxPool2dSpec(Spec):
    """The largest value of each square window."""

    type: Literal["max_pool2d"] = "max_pool2d"
    kernel: int = Field(gt=0, le=MOST)
    stride: int | None = Field(None, gt=0, le=MOST, description="default: the kernel")

    def build(self, below: Shape) -> Layer:
        return MaxPool2d(below, self.kernel, self.stride)


class AvgPool2dSpec(Spec):
    """The mean of each square window."""

    type: Literal["avg_pool2d"] = "avg_pool2d"
    kernel: int = Field(gt=0, le=MOST)
    stride: int | None = Field(None, gt=0, le=MOST, description="default: the kernel")

    def build(self, below: Shape) -> Layer:
        return AvgPool2d(below, self.kernel, self.stride)


class TruncateSpec(Spec):
    """The k largest and the k smallest values of its input at 0."""

    type: Literal["truncate"] = "truncate"
    k: int = Field(gt=0, le=MOST)
    window: bool = Field(False, description="each value has a weight of its own, 1 at the start")

    def build(self, below: Shape) -> Layer:
        return Truncate(below, self.k, self.window)


class FlattenSpec(Spec):
    """Images as vectors."""

    type: Literal["flatten"] = "flatten"

    def build(self, below: Shape) -> Layer:
        return Flatten(below)


class DropoutSpec(Spec):
    """Units that are silent at random in training; in a network in time at each step anew."""

    type: Literal["dropout"] = "dropout"
    rate: float = Field(0.5, ge=0, lt=1, description="chance to be silent")

    def build(self, below: Shape) -> Layer:
        return Dropout(below, self.rate)


class ResidualSpec(Spec):
    """Layers with a copy of their input carried past them and added to what they give."""

    type: Literal["residual"] = "residual"
    layers: tuple[LayerSpec, ...] = Field(min_length=1, strict=False)
    activation: str = Field("identity", description="of the sum")

    @field_validator("activation")
    @classmethod
    def _canonical(cls, text: str) -> str:
        return str(parse_activation(text))

    def build(self, below: Shape) -> Layer:
        """The end of the block, whose layers give the shape of its input again."""
        return replace(joined(below, below), activation=parse_activation(self.activation))

    def at_each_step(self, below: Shape, steps: int) -> Layer:
        raise ConfigError("there are no residual blocks in networks in time")


KINDS = (
    "dense", "tower", "conv2d", "conv1d", "layer_norm", "group_norm", "batch_norm",
    "max_pool2d", "avg_pool2d", "flatten", "truncate", "residual", "dropout", "encode", "readout",
)  # fmt: skip


def with_type(table: object, kinds: tuple[str, ...] = KINDS) -> object:
    """A table without a type is a dense layer's; ValueError for a type that is none of these."""
    if not isinstance(table, dict):
        return table
    kind = table.get("type", "dense")
    if kind not in kinds:
        known = [*kinds, *other_kinds()]
        raise ValueError(f"unknown layer type {kind!r}{closest(str(kind), known)}")
    return {**table, "type": kind}


LayerSpec = Annotated[
    Annotated[
        DenseSpec
        | TowerSpec
        | Conv2dSpec
        | Conv1dSpec
        | MaxPool2dSpec
        | AvgPool2dSpec
        | FlattenSpec
        | DropoutSpec
        | LayerNormSpec
        | GroupNormSpec
        | BatchNormSpec
        | TruncateSpec
        | ResidualSpec
        | EncodeSpec
        | ReadoutSpec,
        Field(discriminator="type"),
    ],
    BeforeValidator(with_type),
    WrapValidator(or_other),
    WrapSerializer(dumped),
]
ResidualSpec.model_rebuild()


def build_layers(
    specs: tuple[LayerSpec, ...], in_shape: Shape, steps: int | None = None
) -> tuple[Layer, ...]:
    """The layers one upon the other; ConfigError naming the one that does not fit.

    A network of vectors reads images flattened. steps: of a network in time.
    """
    if steps is not None:
        reads_vectors = len(specs) > 1 and _first(specs[1:]).reads_vectors
        shape = (prod(in_shape),) if reads_vectors else in_shape
        return layers_in_time(specs, shape, steps)
    shape = (prod(in_shape),) if _first(specs).reads_vectors else in_shape
    nodes: list[Node] = []
    _row(specs, shape, nodes)
    return compile_graph(shape, nodes)


def _row(specs: tuple[LayerSpec, ...], shape: Shape, nodes: list[Node]) -> Shape:
    """The layers on an input of that shape, as nodes behind those there are; the last's shape."""
    for number, spec in enumerate(specs, 1):
        below = shape
        inputs: tuple[int, ...] = (len(nodes),)
        try:
            if isinstance(spec, ResidualSpec):
                nodes.append(Node(copied(below), inputs))
                joined(below, _row(spec.layers, below, nodes))
                inputs = (*inputs, len(nodes))
            if isinstance(spec, ActiveSpec) and spec.needs_time:
                raise ConfigError(
                    "neurons, delays and recurrent weights need time: set steps in [network]"
                )
            layer = built(spec, below)
        except ConfigError as error:
            raise ConfigError(f"layer {number} ({spec.type}): {error}") from None
        shape = layer.out_shape
        nodes.append(Node(layer, inputs))
    return shape


def _first(specs: tuple[LayerSpec, ...]) -> LayerSpec:
    """The first layer that is not indifferent to the shape of what it reads."""
    if isinstance(specs[0], TruncateSpec) and len(specs) > 1:
        return _first(specs[1:])
    return _first(specs[0].layers) if isinstance(specs[0], ResidualSpec) else specs[0]


def _width(kind: str, below: Shape) -> int:
    if len(below) != 1:
        raise ConfigError(
            f"a {kind} layer reads a vector, but the layer below gives the shape {below}: "
            "put a flatten layer between them"
        )
    return below[0]
