"""The layer tables of normalisations within an example."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation, parse_activation
from bioplaus.network.group_norm import GroupNorm
from bioplaus.network.layer import Layer, Shape
from bioplaus.network.toml_tables import MOST, Spec


class _NormSpec(Spec):
    activation: str = Field("identity", description="tanh, leaky_relu(0.1), ...")

    @field_validator("activation")
    @classmethod
    def _canonical(cls, text: str) -> str:
        return str(parse_activation(text))

    @property
    def function(self) -> Activation:
        """The activation itself."""
        return parse_activation(self.activation)

    def at_each_step(self, below: Shape, steps: int) -> Layer:
        raise ConfigError("there is no normalisation in networks in time")


class LayerNormSpec(_NormSpec):
    """Each example to mean 0 and deviation 1 over all its values; a gain for each channel.

    For rules whose errors come down by the layers' derivatives alone.
    """

    type: Literal["layer_norm"] = "layer_norm"

    def build(self, below: Shape) -> Layer:
        return GroupNorm(below, 1, self.function)


class GroupNormSpec(_NormSpec):
    """The same over each of some groups of channels."""

    type: Literal["group_norm"] = "group_norm"
    groups: int = Field(gt=0, le=MOST)

    def build(self, below: Shape) -> Layer:
        return GroupNorm(below, self.groups, self.function)
