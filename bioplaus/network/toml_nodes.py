"""The nodes of task files: networks as graphs, each node with its name and what it reads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
    model_serializer,
    model_validator,
)

from bioplaus.errors import ConfigError, closest
from bioplaus.network.combining import Slice, added, joined, multiplied
from bioplaus.network.layer import Layer, Shape
from bioplaus.network.layer_kind import built, dumped, or_other
from bioplaus.network.toml_layers import (
    AvgPool2dSpec,
    Conv1dSpec,
    Conv2dSpec,
    DenseSpec,
    FlattenSpec,
    MaxPool2dSpec,
    TowerSpec,
    TruncateSpec,
    with_type,
)
from bioplaus.network.toml_norms import BatchNormSpec, GroupNormSpec, LayerNormSpec
from bioplaus.network.toml_tables import MOST, Activated, ActiveSpec, Spec
from bioplaus.system.toml_files import TABLE

INPUT = "x"
"""The network's input, as nodes name it."""


class _Combining(Activated):
    """A node without weights that may have several inputs; the activation is of the result."""

    model_config = TABLE

    @abstractmethod
    def build(self, below: Sequence[Shape]) -> Layer:
        """The layer on inputs of these shapes; ConfigError where they do not fit."""


class AddSpec(_Combining):
    """The sum of its inputs."""

    type: Literal["add"] = "add"

    def build(self, below: Sequence[Shape]) -> Layer:
        return added(below, self.function)


class MultiplySpec(_Combining):
    """The product of its two inputs, unit by unit."""

    type: Literal["multiply"] = "multiply"

    def build(self, below: Sequence[Shape]) -> Layer:
        return multiplied(below, self.function)


class ConcatSpec(_Combining):
    """Its inputs side by side: units, or channels."""

    type: Literal["concat"] = "concat"

    def build(self, below: Sequence[Shape]) -> Layer:
        return joined(below, self.function)


class SliceSpec(_Combining):
    """Units or channels from `start` to before `stop`."""

    type: Literal["slice"] = "slice"
    start: int = Field(ge=0, le=MOST)
    stop: int = Field(gt=0, le=MOST)

    def build(self, below: Sequence[Shape]) -> Layer:
        return Slice(_only(below), self.start, self.stop, self.function)


class ActivationSpec(_Combining):
    """Its input under an activation, where the input itself is read too."""

    type: Literal["activation"] = "activation"
    activation: str = Field(description="tanh, leaky_relu(0.1), ...")

    def build(self, below: Sequence[Shape]) -> Layer:
        _only(below)
        return added(below, self.function)


_KINDS = (
    "dense", "tower", "conv2d", "conv1d", "layer_norm", "group_norm", "batch_norm",
    "max_pool2d", "avg_pool2d", "flatten", "truncate", "add", "multiply", "concat", "slice",
    "activation",
)  # fmt: skip


def _with_type(table: object) -> object:
    if isinstance(table, dict) and table.get("type") == "residual":
        raise ValueError("a residual block among nodes is its layers, and an add of both its ends")
    if isinstance(table, dict) and table.get("type") in ("encode", "readout"):
        raise ValueError("a graph has no time: networks with encode and readout are layers = [...]")
    return with_type(table, _KINDS)


_NodeLayer = Annotated[
    Annotated[
        DenseSpec
        | TowerSpec
        | Conv2dSpec
        | Conv1dSpec
        | LayerNormSpec
        | GroupNormSpec
        | BatchNormSpec
        | MaxPool2dSpec
        | AvgPool2dSpec
        | FlattenSpec
        | TruncateSpec
        | AddSpec
        | MultiplySpec
        | ConcatSpec
        | SliceSpec
        | ActivationSpec,
        Field(discriminator="type"),
    ],
    BeforeValidator(_with_type),
    WrapValidator(or_other),
    WrapSerializer(dumped),
]


class NodeSpec(BaseModel):
    """One node: its name, what it reads, and all that a layer of its type has, in one table."""

    model_config = TABLE

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=80)
    inputs: tuple[str, ...] = Field(
        min_length=1, strict=False, description="names of earlier nodes, or x"
    )
    tie: str | None = Field(None, description="an earlier node, whose weights this one shares")
    layer: _NodeLayer

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, table: Any) -> Any:
        """{name, input, type, ...} -> {name, inputs, layer: {type, ...}}."""
        if not isinstance(table, dict):
            return table
        rest = dict(table)
        if "input" in rest and "inputs" in rest:
            raise ValueError('it has both "input" and "inputs": give one')
        inputs = [rest.pop("input")] if "input" in rest else rest.pop("inputs", None)
        own = {"name": rest.pop("name", None), "inputs": inputs, "tie": rest.pop("tie", None)}
        return {k: v for k, v in own.items() if v is not None} | {"layer": rest}

    @model_serializer(mode="wrap")
    def _flat(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        table = handler(self)
        layer = table.pop("layer", {})
        return {**table, **layer}

    def build(self, below: Sequence[Shape]) -> Layer:
        """The node's layer on inputs of these shapes; ConfigError where they do not fit."""
        spec = self.layer
        if not isinstance(spec, Spec):
            return spec.build(below)
        if isinstance(spec, ActiveSpec) and spec.needs_time:
            raise ConfigError("neurons and delays are for networks in time: rows with `steps`")
        return built(spec, _only(below))


def _only(below: Sequence[Shape]) -> Shape:
    if len(below) != 1:
        raise ConfigError(f"it reads one input, not {len(below)}: concat or add them before it")
    return below[0]


def filled_in(tables: Any) -> Any:
    """Node tables, where one without input reads the node before it, and the first one x.

    One that is tied to another is what that one is, where it does not say otherwise.
    """
    if not isinstance(tables, list | tuple):
        return tables
    filled, before = [], INPUT
    by_name: dict[str | None, dict[str, Any]] = {}
    for table in tables:
        if isinstance(table, dict):
            tie = _hashable(table.get("tie"))
            if tie is not None and tie not in by_name:
                raise ConfigError(_no_leader(_hashable(table.get("name")), tie, by_name))
            leader = by_name.get(tie, {})
            own = {"name", "input", "inputs", "tie"}
            table = {k: v for k, v in leader.items() if k not in own} | table
            if not table.keys() & {"input", "inputs"}:
                table = {**table, "input": before}
            before = table.get("name", before)
            by_name[_hashable(table.get("name"))] = table
        filled.append(table)
    return filled


def _no_leader(node: str | None, tie: str, before: Iterable[str | None]) -> str:
    hint = closest(tie, [name for name in before if name is not None])
    return f"node {node or '?'} is tied to {tie}, no node before it{hint}"


def _hashable(name: object) -> str | None:
    return name if isinstance(name, str) else None
