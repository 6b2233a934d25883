"""Optimizers are torch's; this names one with its settings, as data for tasks and records."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from bioplaus.errors import ConfigError, UnknownNameError, validation_message

OptimizerName = Literal["adam", "adamw", "sgd", "rmsprop"]

_CLASSES: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}
_FUSED = {"adam", "adamw", "sgd"}
_DIVIDES = {"adam", "adamw", "rmsprop"}


class OptimizerSpec(BaseModel):
    """One of torch's elementwise optimizers; settings left out are torch's defaults.

    Elementwise, so that it treats stacked replicas independently.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: OptimizerName = Field("adam", description="adam, adamw, sgd or rmsprop")
    lr: float = Field(1e-3, gt=0, description="learning rate")
    betas: tuple[float, float] | None = Field(None, description="Adam's averaging factors")
    eps: float | None = Field(None, gt=0, description="stabiliser outside the root")
    momentum: float | None = Field(None, ge=0, description="for sgd and rmsprop")
    alpha: float | None = Field(None, ge=0, le=1, description="rmsprop's averaging factor")
    weight_decay: float | None = Field(None, ge=0, description="decoupled in adamw only")

    @model_validator(mode="after")
    def _settings_exist(self) -> OptimizerSpec:
        accepted = inspect.signature(_CLASSES[self.name]).parameters
        wrong = sorted(set(self.settings()) - set(accepted))
        if wrong:
            raise ValueError(f"{self.name} has no setting {', '.join(wrong)}")
        return self

    @property
    def cancels_scale(self) -> bool:
        """Whether its steps stay the same where all of a tensor's gradients are twice as large."""
        return self.name in _DIVIDES

    def settings(self) -> dict[str, Any]:
        """What is set, by torch's names."""
        return self.model_dump(exclude={"name"}, exclude_none=True)

    def resolved(self) -> dict[str, Any]:
        """All of torch's settings, by its names, with its defaults where nothing is set."""
        return _CLASSES[self.name]([torch.zeros(0)], **self.settings()).defaults

    def updated(self, changes: Mapping[str, object]) -> OptimizerSpec:
        """These settings with some changed; another `name` keeps only the learning rate.

        Raises UnknownNameError or ConfigError.
        """
        for setting in changes:
            if setting not in type(self).model_fields:
                raise UnknownNameError("optimizer setting", setting, type(self).model_fields)
        kept = self.model_dump(exclude_none=True)
        if changes.get("name", self.name) != self.name:
            kept = {"lr": self.lr}
        try:
            return OptimizerSpec.model_validate({**kept, **changes})
        except ValidationError as error:
            raise ConfigError(f"optimizer: {validation_message(error)}") from None

    def build(self, tensors: Iterable[Tensor], fused: bool = True) -> torch.optim.Optimizer:
        """The torch optimizer over these tensors, stacked or not."""
        listed = list(tensors)
        settings = self.settings() | (self.mechanics(listed) if fused else {})
        return _CLASSES[self.name](listed, **settings)

    def mechanics(self, tensors: Sequence[Tensor]) -> dict[str, Any]:
        """How torch goes about it, without a change of results: fused, fit for a CUDA graph."""
        counts = self.name != "sgd" and any(t.device.type == "cuda" for t in tensors)
        return ({"fused": True} if self.name in _FUSED else {}) | (
            {"capturable": True} if counts else {}
        )
