"""The layer tables of normalisations: within an example, and over the batch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bioplaus.errors import ConfigError
from bioplaus.network.batch_norm import BatchNorm
from bioplaus.network.group_norm import GroupNorm
from bioplaus.network.layer import Layer, Shape
from bioplaus.network.toml_tables import MOST, Activated, Spec


class _NormSpec(Activated, Spec):
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
    """Each example to mean 0 and deviation 1 over each group of its channels; a gain for each."""

    type: Literal["group_norm"] = "group_norm"
    groups: int = Field(gt=0, le=MOST)

    def build(self, below: Shape) -> Layer:
        return GroupNorm(below, self.groups, self.function)


class BatchNormSpec(_NormSpec):
    """Each channel to mean 0 and deviation 1 over the batch; a gain for each channel.

    Predictions go by running statistics, each example for itself. For rules whose errors come
    down by the layers' derivatives alone.
    """

    type: Literal["batch_norm"] = "batch_norm"
    momentum: float = Field(0.1, gt=0, le=1, description="weight of a batch in the statistics")

    def build(self, below: Shape) -> Layer:
        return BatchNorm(below, activation=self.function, momentum=self.momentum)
