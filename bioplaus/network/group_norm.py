"""Normalisation of each example by itself: over groups of its channels, or over all of them.

x = (h - mean) / sqrt(var + eps), a = gain * x + shift, with mean and var over the values of a
group (all places of its channels), and a gain and a shift for each channel. Errors come down by
the transpose of the derivative at h,

    e = (u - <u> - x <u x>) / sqrt(var + eps),   u = gain * d

with <> the mean over the group. One group is layer normalisation (Ba, Kiros and Hinton 2016,
arXiv:1607.06450), several are group normalisation (Wu and He 2018, arXiv:1803.08494).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.network.activations import Activation, Identity
from bioplaus.network.layer import Init, Layer, Params, Residuals, Shape
from bioplaus.numerics.random_streams import Stream

_IDENTITY = Identity()


@dataclass(frozen=True)
class GroupNorm(Layer):
    """Normalises each group of an example's channels, the first axis.

    A gain is no weight between neurons: it has no feedback weights, and an adjoint with no
    p["gain"] takes 1 in its place.
    """

    below: Shape
    groups: int = 1
    activation: Activation = _IDENTITY
    eps: float = 1e-5
    kind: ClassVar[str] = "group_norm"
    linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.below[0] % self.groups:
            raise ConfigError(f"{self.groups} groups cannot share {self.below[0]} channels evenly")
        if torch.Size(self.below).numel() // self.groups < 2:
            raise ConfigError(f"a group of {self.below[0]} channels by {self.groups} has one value")

    @property
    def in_shape(self) -> Shape:
        return self.below

    @property
    def out_shape(self) -> Shape:
        return self.below

    def init(self, stream: Stream, init: Init) -> Params:
        ones = torch.ones(self.below[0], dtype=torch.float64)
        return {"gain": ones, "shift": torch.zeros_like(ones)}

    def forward(self, p: Params, h: Tensor) -> tuple[Tensor, Residuals]:
        grouped = self._grouped(h)
        var, mean = torch.var_mean(grouped, -1, correction=0, keepdim=True)
        scale = (var + self.eps).rsqrt()
        x = ((grouped - mean) * scale).reshape(h.shape)
        return x * self._spread(p["gain"]) + self._spread(p["shift"]), (x, scale)

    def adjoint(self, p: Params, residuals: Residuals, d: Tensor) -> Tensor:
        x, scale = residuals
        u = self._grouped(d * self._spread(p["gain"]) if "gain" in p else d)
        x = self._grouped(x)
        e = (u - u.mean(-1, keepdim=True) - x * (u * x).mean(-1, keepdim=True)) * scale
        below: Tensor = e.reshape(d.shape)
        return below

    def weight_grad(self, residuals: Residuals, d: Tensor) -> Params:
        x, _ = residuals
        shared = [0, *range(2, d.dim())]
        return {"gain": (d * x).sum(shared) / len(d), "shift": d.sum(shared) / len(d)}

    def _grouped(self, h: Tensor) -> Tensor:
        return h.reshape(h.shape[0], self.groups, -1)

    def _spread(self, channels: Tensor) -> Tensor:
        return channels.reshape(-1, *[1] * (len(self.below) - 1))


def why_only_errors(layer: Layer) -> str | None:
    """Why only rules whose errors come down by `adjoint` alone train a layer; None for others."""
    if layer.mixes_examples:
        return (
            "normalises over the batch, so that examples depend on each other, and this rule "
            "treats each by itself"
        )
    inner = layer
    while hasattr(inner, "inner"):
        inner = inner.inner
    if isinstance(inner, GroupNorm):
        return (
            "normalises each example, which is no product with weights: it is for rules whose "
            "errors come down by the layers' derivatives"
        )
    return None
