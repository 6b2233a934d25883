"""What a rule says of itself: where it comes from, and what it asks of a brain."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from bioplaus.learning.fields import Fields


class Citation(Fields):
    """The publication a rule comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    authors: str
    title: str
    year: int
    venue: str = ""
    identifier: str = Field("", description="arXiv number or DOI")
    equations: str = Field("", description="where in it the equations stand")

    def __str__(self) -> str:
        parts = (self.venue, self.identifier)
        where = ", ".join(part for part in parts if part)
        return f"{self.authors} ({self.year}). {self.title}." + (f" {where}." if where else "")


class Published(Fields):
    """One number from the literature, for a board to put beside a measured one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: str = Field(description="data set and measure: `mnist test accuracy`")
    value: float = Field(description="as a fraction where it is an accuracy")
    note: str = Field("", description="network, epochs, seeds: what it takes to compare")
    source: str = Field(description="publication or code, and where in it")


class Plausibility(Fields):
    """What learning needs besides the forward pass, under one configuration of a rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight_transport: Literal["none", "sign", "transpose", "inverse"] = Field(
        description="what the error's way back knows of the forward weights: nothing that is "
        "not learned locally, their signs, their exact transpose, their exact inverse"
    )
    phases: str = Field(description="passes, relaxations and modes besides the forward pass")
    update_locking: bool = Field(
        description="a layer learns only when the whole forward pass is over"
    )
    backward_locking: bool = Field(description="layer l waits for the error of layer l + 1")
    local: bool = Field(
        description="a synapse uses only its two neurons' and its own dendrite's quantities"
    )
    needs_derivative: Literal["no", "local", "transport"] = Field(
        description="f' is not needed; in a neuron's own update only; also on the error's way"
    )
    signed_errors: Literal["none", "activity difference", "error units", "yes"] = Field(
        description="what carries an error's sign"
    )
    auxiliary: str = Field("none", description="extra parameters, units or circuits")
    note: str = ""
