"""The neuron tables of task files, `neuron = { decay = 0.75 }`."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, field_validator, model_validator

from bioplaus.network.neuron import Neuron, Reset, SuperSpike, parse_surrogate
from bioplaus.system.toml_files import TABLE


class NeuronSpec(BaseModel):
    """A spiking unit; see `bioplaus.network.neuron`."""

    model_config = TABLE

    decay: float = Field(1.0, ge=0, le=1, description="of the potential at each step; 1 for none")
    decay_input: bool = Field(False, description="the current times 1 - decay: an average")
    threshold: float = Field(1.0, gt=0)
    reset: Reset = Field("subtract", description="by a spike: of the threshold, or to zero")
    refractory: int = Field(0, ge=0, le=2**16, description="steps after a spike without one")
    surrogate: str = Field(
        str(SuperSpike(SuperSpike.usual)),
        description="of a spike's derivative: superspike(10), triangle(0.3), atan(2)",
    )
    through_reset: bool = Field(False, description="errors go through the reset too")
    fires: bool = Field(True, description="false for a leaky integrator, a readout's say")

    @field_validator("surrogate")
    @classmethod
    def _canonical(cls, text: str) -> str:
        return str(parse_surrogate(text))

    @model_validator(mode="after")
    def _charged(self) -> Self:
        if self.decay_input and self.decay == 1:
            raise ValueError("decay_input with a decay of 1 leaves no current: 1 - decay is 0")
        return self

    def build(self) -> Neuron:
        """The unit itself."""
        return Neuron(
            self.decay,
            self.threshold,
            self.reset,
            self.refractory,
            1 - self.decay if self.decay_input else 1.0,
            parse_surrogate(self.surrogate),
            self.through_reset,
            self.fires,
        )
