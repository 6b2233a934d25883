"""Optimizers are torch's; this names one with its settings, as data for tasks and records."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from torch import Tensor

from bioplaus.errors import ConfigError, UnknownNameError, validation_message
from bioplaus.learning.fields import Fields
from bioplaus.system.toml_files import TABLE

OptimizerName = Literal["adam", "adamw", "sgd", "rmsprop"]

_CLASSES: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}
_FUSED = {"adam", "adamw", "sgd"}
_MOST_LAYERS = 10_000
_Factor = Annotated[float, Field(ge=0, lt=1)]
_DIVIDES = {"adam", "adamw", "rmsprop"}


def _unfilled(cls: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The class without parameters to step: torch's way to add them loads its compiler, 2 s."""
    return type(cls.__name__, (cls,), {"add_param_group": lambda self, group: None})


class OptimizerSpec(Fields):
    """One of torch's elementwise optimizers; settings left out are torch's defaults.

    Elementwise, so that it treats stacked replicas independently.
    """

    model_config = TABLE

    name: OptimizerName = Field("adam", description="adam, adamw, sgd or rmsprop")
    lr: float = Field(1e-3, gt=0, description="learning rate")
    betas: tuple[_Factor, _Factor] | None = Field(
        None, strict=False, description="Adam's averaging factors"
    )
    eps: float | None = Field(None, gt=0, description="stabiliser outside the root")
    momentum: float | None = Field(None, ge=0, description="for sgd and rmsprop")
    alpha: float | None = Field(None, ge=0, le=1, description="rmsprop's averaging factor")
    weight_decay: float | None = Field(None, ge=0, description="decoupled in adamw only")
    layer_rates: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        None,
        strict=False,
        description="what multiplies the learning rate of layer 1, 2, ..., counted as in "
        '"2.weight"; 1 for those left out, 0 for a layer that stays as it starts',
    )

    @field_validator("layer_rates")
    @classmethod
    def _shortest(cls, rates: tuple[float, ...] | None) -> tuple[float, ...] | None:
        """Without ones at the end, so that a result has one key."""
        while rates and rates[-1] == 1:
            rates = rates[:-1]
        return rates or None

    @model_validator(mode="after")
    def _settings_exist(self) -> OptimizerSpec:
        accepted = inspect.signature(_CLASSES[self.name]).parameters
        wrong = sorted(set(self.settings()) - set(accepted))
        if wrong:
            known = [n for n in type(self).model_fields if n in (*accepted, "layer_rates")]
            raise ValueError(
                f"{self.name} has no setting {', '.join(wrong)}; it has {', '.join(known)}"
            )
        return self

    @property
    def cancels_scale(self) -> bool:
        """Whether its steps stay the same where all of a tensor's gradients are twice as large."""
        return self.name in _DIVIDES

    def settings(self) -> dict[str, Any]:
        """What is set for all layers, by torch's names."""
        return self.model_dump(exclude={"name", "layer_rates"}, exclude_none=True)

    def rate_of(self, name: str) -> float:
        """What multiplies the learning rate of a tensor of that name: "2.weight" is of layer 2."""
        layer, _, _ = name.partition(".")
        number = int(layer) if layer.isdecimal() else 0
        return (
            self.layer_rates[number - 1]
            if self.layer_rates and 0 < number <= len(self.layer_rates)
            else 1.0
        )

    def resolved(self) -> dict[str, Any]:
        """All of torch's settings, by its names, with its defaults where nothing is set."""
        return _unfilled(_CLASSES[self.name])([torch.zeros(0)], **self.settings()).defaults

    def updated(self, changes: Mapping[str, object]) -> OptimizerSpec:
        """These settings with some changed; another `name` keeps only the learning rates.

        "layer_rates.2" is the multiplier of layer 2 alone. Raises UnknownNameError or ConfigError.
        """
        changes = dict(changes)
        for setting in [name for name in changes if name.startswith("layer_rates.")]:
            rates = changes.get("layer_rates", self.layer_rates or ())
            changes["layer_rates"] = _with_rate(rates, setting, changes.pop(setting))
        for setting in changes:
            if setting not in type(self).model_fields:
                raise UnknownNameError("optimizer setting", setting, type(self).model_fields)
        kept = self.model_dump(exclude_none=True)
        if changes.get("name", self.name) != self.name:
            kept = {name: kept[name] for name in ("lr", "layer_rates") if name in kept}
        try:
            return OptimizerSpec.model_validate({**kept, **changes})
        except ValidationError as error:
            raise ConfigError(f"optimizer: {validation_message(error)}") from None

    def build(
        self, tensors: Iterable[Tensor] | Mapping[str, Tensor], fused: bool = True
    ) -> torch.optim.Optimizer:
        """The torch optimizer over these tensors, stacked or not; by name for `layer_rates`."""
        listed = list(tensors.values() if isinstance(tensors, Mapping) else tensors)
        settings = self.settings() | (self.mechanics(listed) if fused else {})
        if not (isinstance(tensors, Mapping) and self.layer_rates):
            return _CLASSES[self.name](listed, **settings)
        return _CLASSES[self.name](self.groups(tensors), **settings)

    def groups(self, tensors: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """Groups of parameters for a torch optimizer: those of one learning rate together."""
        rates = {name: self.rate_of(name) for name in tensors}
        return [
            {"params": [t for n, t in tensors.items() if rates[n] == rate], "lr": self.lr * rate}
            for rate in dict.fromkeys(rates.values())
        ]

    def mechanics(self, tensors: Sequence[Tensor]) -> dict[str, Any]:
        """How torch goes about it, without a change of results: fused, fit for a CUDA graph."""
        counts = self.name != "sgd" and any(t.device.type == "cuda" for t in tensors)
        return ({"fused": True} if self.name in _FUSED else {}) | (
            {"capturable": True} if counts else {}
        )


def _with_rate(rates: object, setting: str, value: object) -> object:
    """Rates with that of one layer replaced; ConfigError for "layer_rates.0" and the like."""
    layer = setting.removeprefix("layer_rates.")
    if not layer.isdecimal() or not 1 <= int(layer) <= _MOST_LAYERS:
        raise ConfigError(f"optimizer: {setting}: a layer is a number from 1, as in layer_rates.2")
    if not isinstance(rates, Sequence):
        return rates
    filled = [*rates, *[1.0] * (int(layer) - len(rates))]
    return [value if number == int(layer) else rate for number, rate in enumerate(filled, 1)]
