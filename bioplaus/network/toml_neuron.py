"""The neuron tables of task files, `neuron = { decay = 0.75 }`."""

from __future__ import annotations

import math
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
    adaptation: float | None = Field(
        None, ge=0, lt=math.inf, description="what each spike adds to the threshold; default 0"
    )
    adaptation_decay: float | None = Field(
        None, ge=0, le=1, description="of what was added at each step; needs adaptation"
    )

    @field_validator("surrogate")
    @classmethod
    def _canonical(cls, text: str) -> str:
        return str(parse_surrogate(text))

    @model_validator(mode="after")
    def _charged(self) -> Self:
        if self.decay_input and self.decay == 1:
            raise ValueError("decay_input with a decay of 1 leaves no current: 1 - decay is 0")
        return self

    @field_validator("adaptation")
    @classmethod
    def _or_left_out(cls, adaptation: float | None) -> float | None:
        return adaptation or None

    @model_validator(mode="after")
    def _adapts(self) -> Self:
        if self.adaptation is not None and self.adaptation_decay is None:
            raise ValueError("adaptation needs adaptation_decay, such as 0.97: how slowly it goes")
        if self.adaptation is None and self.adaptation_decay is not None:
            raise ValueError("adaptation_decay is of an adaptation, which is missing or 0")
        if self.adaptation is not None and not self.fires:
            raise ValueError("adaptation is by spikes, and this neuron does not fire")
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
            self.adaptation or 0.0,
            self.adaptation_decay or 0.0,
        )
