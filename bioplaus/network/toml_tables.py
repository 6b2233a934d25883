"""What the layer tables of task files share: those with weights, and what they are in time."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from bioplaus.network.activations import Activation, parse_activation
from bioplaus.network.layer import Layer, Shape
from bioplaus.network.time import AtEachStep
from bioplaus.network.toml_neuron import NeuronSpec
from bioplaus.system.toml_files import TABLE

MOST = 2**24
"""Of units, channels and the like: beyond it, arithmetic on sizes would overflow in torch."""


class Spec(BaseModel):
    """One layer; its input is the layer below."""

    model_config = TABLE

    reads_vectors: ClassVar[bool] = False

    @abstractmethod
    def build(self, below: Shape) -> Layer:
        """The layer on an input of that shape; ConfigError where it does not fit."""

    def at_each_step(self, below: Shape, steps: int) -> Layer:
        """The layer in a network in time, on units of that shape; ConfigError."""
        inner = self.build(below)
        return AtEachStep(inner, steps, inner.activation)


class Activated(BaseModel):
    """What has an activation by its name."""

    activation: str = Field("identity", description="tanh, leaky_relu(0.1), ...")

    @field_validator("activation")
    @classmethod
    def _canonical(cls, text: str) -> str:
        return str(parse_activation(text))

    @property
    def function(self) -> Activation:
        """The activation itself."""
        return parse_activation(self.activation)


class ActiveSpec(Activated, Spec):
    """A layer with weights and an activation."""

    bias: bool = True
    neuron: NeuronSpec | None = Field(None, description="in a network in time, its activation")
    delay: int | None = Field(
        None, ge=0, le=1, description="in a network in time, steps by which its input comes later"
    )

    @model_validator(mode="after")
    def _one_activation(self) -> Self:
        if self.neuron is not None and self.activation != "identity":
            raise ValueError(f"a neuron is an activation: leave out {self.activation!r}")
        return self

    @property
    def needs_time(self) -> bool:
        """Whether it has what only networks in time have."""
        return self.neuron is not None or self.delay is not None

    def at_each_step(self, below: Shape, steps: int) -> Layer:
        activation = self.neuron.build() if self.neuron else self.function
        return AtEachStep(self.build(below), steps, activation, self.delay or 0)
