"""Kinds of layers from outside: a table of a task file, with a layer that somebody else wrote.

Where they are found is not known here: `add_kinds` is told.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
)

from bioplaus.errors import PluginError, shown, validation_message
from bioplaus.network.layer import Layer, Shape
from bioplaus.network.time import AtEachStep
from bioplaus.network.toml_tables import Spec
from bioplaus.system.blame import blaming


class LayerKind(Spec):
    """One kind of layer in task files, found through the entry points `bioplaus.layers`.

    Its fields are those of its table, `type = NAME` is how a file asks for it, and its docstring's
    first line is shown in `bioplaus list layers`. `bioplaus.testing.check_layer` tries what it
    builds.

    Example:

        >>> from bioplaus import LayerKind
        >>> from bioplaus.network.layer import Dense
        >>> class Narrow(LayerKind):
        ...     '''A dense layer of half as many units as the layer below.'''
        ...     name = "narrow"
        ...     def build(self, below):
        ...         return Dense(below[0], below[0] // 2)
        >>> Narrow().build((8,)).out_shape
        (4,)
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Part of a record's key: raise it when results change."""
    type: str = Field("", validate_default=True)

    @field_validator("type")
    @classmethod
    def _own_name(cls, given: str) -> str:
        if given not in ("", cls.name):
            raise ValueError(f"it is {cls.name!r}")
        return cls.name

    @abstractmethod
    def build(self, below: Shape) -> Layer:
        """The layer on an input of that shape; ConfigError where it does not fit."""

    def at_each_step(self, below: Shape, steps: int) -> Layer:
        inner = built(self, below)
        return AtEachStep(inner, steps, inner.activation)


def built(spec: Spec, below: Shape) -> Layer:
    """A table's layer on an input of that shape; ConfigError where it does not fit.

    PluginError, naming it, for what a kind from outside raises or returns else.
    """
    if not isinstance(spec, LayerKind):
        return spec.build(below)
    title = f"the layer {spec.name!r}"
    with blaming(f"{title} cannot be built on {below}", type(spec)):
        layer = spec.build(below)
    if not isinstance(layer, Layer):
        raise PluginError(
            f"{title}: `build` returned {shown(repr(layer), 60)}; return a "
            "bioplaus.network.layer.Layer"
        )
    return layer


_PLACES: list[Mapping[str, type[LayerKind]]] = []


def add_kinds(kinds: Mapping[str, type[LayerKind]]) -> None:
    """Where to look for kinds by name; what is looked up may be imported then."""
    _PLACES.append(kinds)


def other_kinds() -> list[str]:
    """The names of all that are not built in."""
    return [name for place in _PLACES for name in place]


def or_other(table: Any, built_in: Callable[[Any], Any]) -> Any:
    """What a table says, of a kind from outside, or else of a built-in one."""
    if isinstance(table, LayerKind):
        return table
    kind = table.get("type") if isinstance(table, dict) else None
    if not isinstance(kind, str):
        return built_in(table)
    place = next((p for p in _PLACES if kind in p), None)
    if place is None:
        return built_in(table)
    cls = place[kind]
    try:
        return cls.model_validate(table)
    except ValidationError as error:
        raise ValueError(f"{kind}: {validation_message(error, cls)}") from None


def dumped(layer: Any, built_in: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    """A layer's table again."""
    if not isinstance(layer, LayerKind):
        return built_in(layer)
    return layer.model_dump(
        mode=info.mode, exclude_none=info.exclude_none, exclude_defaults=info.exclude_defaults
    ) | {"type": layer.type}
