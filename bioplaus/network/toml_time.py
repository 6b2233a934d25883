"""Networks in time as tables: an encoder, layers at each step, and a readout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from bioplaus.errors import ConfigError
from bioplaus.network.layer import Layer, Shape
from bioplaus.network.time import Code, Encode, Readout
from bioplaus.network.toml_tables import Spec

_FIRST = "encode is the first layer of a network in time, which has `steps` in [network]: "
_FIRST += 'begin with { type = "encode" }'
_LAST = "readout is the last layer of a network in time, which has `steps` in [network]: "
_LAST += 'end with { type = "readout" }'


class EncodeSpec(Spec):
    """Examples as trains, the first layer of a network in time."""

    in_predictions: bool | None = Field(
        None, description="bernoulli draws in predictions too, in the place of accumulating there"
    )
    type: Literal["encode"] = "encode"
    how: Code = Field(
        "accumulate", description="accumulate, current, latency, bernoulli or sequence"
    )

    def build(self, below: Shape) -> Layer:
        raise ConfigError(_FIRST)

    def at_each_step(self, below: Shape, steps: int) -> Layer:
        if self.in_predictions and self.how != "bernoulli":
            raise ConfigError(f"in_predictions is for bernoulli: {self.how} draws nothing")
        return Encode(below, steps, self.how, self.in_predictions is True)

    @field_validator("in_predictions")
    @classmethod
    def _or_left_out(cls, in_predictions: bool | None) -> bool | None:
        return in_predictions or None


class ReadoutSpec(Spec):
    """Trains as their means, the last layer of a network in time."""

    type: Literal["readout"] = "readout"
    last: int | None = Field(
        None, gt=0, description="the mean over so many steps at the end; default all"
    )

    def build(self, below: Shape) -> Layer:
        raise ConfigError(_LAST)

    def at_each_step(self, below: Shape, steps: int) -> Layer:
        return Readout(below, steps, self.last)


def layers_in_time(specs: Sequence[Spec], shape: Shape, steps: int) -> tuple[Layer, ...]:
    """The layers on examples of that shape; ConfigError naming the one that does not fit."""
    last = len(specs) - 1
    layers: list[Layer] = []
    for l, spec in enumerate(specs):
        try:
            if (l == 0) != isinstance(spec, EncodeSpec):
                raise ConfigError(_FIRST)
            if (l == last) != isinstance(spec, ReadoutSpec):
                raise ConfigError(_LAST)
            layers.append(spec.at_each_step(shape, steps))
        except ConfigError as error:
            name = getattr(spec, "type", "")
            raise ConfigError(f"layer {l + 1} ({name}): {error}") from None
        shape = layers[-1].unit_shape
    return tuple(layers)
