"""Which images a rule learns from in the place of a data set's own, as a task file says."""

from __future__ import annotations

from pydantic import BaseModel, Field

from bioplaus.errors import ConfigError
from bioplaus.network.layer import Shape
from bioplaus.system.toml_files import TABLE


class Augment(BaseModel):
    """Changes of training images, drawn afresh at each step, the same for every rule.

    In this order: a crop of the image's size out of the image with `pad` pixels of 0 around it,
    a flip from left to right of every second one, and a square of `cutout` pixels a side set to
    0 around a pixel of the image (DeVries and Taylor 2017). 0 is black, or where the task
    normalises, the mean colour. Evaluations see the images as they are; the batch on which
    updates are compared with gradients is changed once, the same for all.
    """

    model_config = TABLE

    pad: int = Field(0, ge=0, le=1024, description="pixels by which a crop may be shifted")
    flip: bool = Field(False, description="every second image from left to right")
    cutout: int = Field(0, ge=0, le=1024, description="side of the square that is set to 0")

    def check(self, shape: Shape) -> None:
        """ConfigError where examples of that shape cannot be changed so."""
        if len(shape) != 3:
            raise ConfigError(f"augment is for images, and examples have the shape {shape}")
        size = min(shape[1:])
        for name, value, most in (("pad", self.pad, size - 1), ("cutout", self.cutout, size)):
            if value > most:
                raise ConfigError(
                    f"augment.{name} is {value}, and images of {shape[1]} x {shape[2]} pixels take "
                    f"{most} at most: make it smaller"
                )
