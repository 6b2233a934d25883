"""What a task asks for where it is not a class: views of an example, or the example itself.

The loss stays a function of the network's output, so that rules train on these tasks as they
do on others. What is drawn, masks and views, is the harness's: the same for every rule.
"""

from __future__ import annotations

from math import prod
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from bioplaus.errors import ConfigError
from bioplaus.network.contrastive import ContrastiveHinge
from bioplaus.network.layer import Shape
from bioplaus.system.toml_files import TABLE


class _Part(BaseModel):
    model_config = TABLE


class Mask(_Part):
    """Square patches of the image, a share of which is set to 0, drawn afresh at each step."""

    patch: int = Field(gt=0, le=1024, description="pixels a side")
    share: float = Field(gt=0, lt=1, description="of the patches, set to 0")

    def patches(self, shape: Shape) -> tuple[int, int]:
        """How many there are down and across; ConfigError where they do not fill the image."""
        if len(shape) != 3 or shape[1] % self.patch or shape[2] % self.patch:
            raise ConfigError(
                f"patches of {self.patch} x {self.patch} do not fill examples of shape {shape}"
            )
        return shape[1] // self.patch, shape[2] // self.patch

    def removed(self, shape: Shape) -> int:
        """How many patches of an example are set to 0, at least one, never all."""
        count = prod(self.patches(shape))
        if count < 2:
            raise ConfigError(f"patches of {self.patch} x {self.patch} leave an image nothing else")
        return min(max(1, round(self.share * count)), count - 1)


class Views(_Part):
    """Both views drawn alike, afresh at each step."""

    affine: float = Field(gt=0, le=2, description="theta = I + affine (u - 1/2), u uniform")


class Goal(_Part):
    """A goal that the labels of the data set have no part in."""

    kind: Literal["reconstruction", "two-views"]
    embedding: int | None = Field(
        None, gt=0, description="the layer whose output is probed; default: the one below the top"
    )
    mask: Mask | None = Field(None, description="of a reconstruction: what is set to 0")
    views: Views | None = Field(None, description="of two views: how they are drawn")
    margin: float | None = Field(
        None,
        gt=0,
        description="of two views: the distance between near and far; default half "
        "the units of the output",
    )
    delta: float | None = Field(
        None, gt=0, description="how far beyond it views must lie; default a quarter of them"
    )
    negatives: int | None = Field(
        None, gt=0, description="other examples that each is told from; default all of the batch"
    )
    block: bool | None = Field(
        None, description="whether the first view learns nothing; default true"
    )

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        own = ("views", "margin", "delta", "negatives", "block")
        foreign = ("mask",) if self.kind == "two-views" else own
        if strange := [name for name in foreign if getattr(self, name) is not None]:
            raise ValueError(f"{strange[0]} is no part of {self.kind}")
        if self.kind == "two-views" and self.views is None:
            raise ValueError("two-views needs [goal.views] with affine = 0.25, say")
        return self

    @property
    def loss(self) -> str:
        """The loss that it is learned by."""
        return "contrastive_hinge" if self.kind == "two-views" else "mse"

    def hinge(self) -> ContrastiveHinge:
        """The loss of two views."""
        block = True if self.block is None else self.block
        return ContrastiveHinge(self.margin, self.delta, self.negatives, block)

    def check(self, depth: int, shape: Shape) -> None:
        """ConfigError where a network of that depth cannot have it, or the data's shape."""
        self.layer(depth)
        if self.views is not None and len(shape) != 3:
            raise ConfigError(f"views are of images, not of examples of shape {shape}")
        if self.mask is not None:
            self.mask.removed(shape)

    def layer(self, depth: int) -> int:
        """Which layer is probed, from 1; ConfigError where there is none."""
        if depth < 2:
            raise ConfigError("a goal needs a layer below the last one, which is what is probed")
        layer = depth - 1 if self.embedding is None else self.embedding
        if layer >= depth:
            raise ConfigError(f"layer {layer} cannot be probed: the last of {depth} is the output")
        return layer
