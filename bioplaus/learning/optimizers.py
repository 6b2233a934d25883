"""Optimizers are torch's; this names one with its settings, as data for tasks and records."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
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

    def settings(self) -> dict[str, Any]:
        """What is set, by torch's names."""
        return self.model_dump(exclude={"name"}, exclude_none=True)

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


class StackedOptimizer:
    """One torch optimizer on stacked tensors (R, ...), each replica with settings of its own.

    Where they differ, it works on views of the replicas, neighbours with equal settings in
    one: slices of the first axis, contiguous as the fused optimizers need them.
    """

    def __init__(self, specs: Sequence[OptimizerSpec], tensors: Iterable[Tensor]) -> None:
        """specs: one for all replicas, or one for each, of one kind; ConfigError otherwise."""
        self._tensors = list(tensors)
        kinds = {spec.name for spec in specs}
        if len(kinds) != 1:
            raise ConfigError(f"replicas cannot share {' and '.join(sorted(kinds))}")
        self._parts: list[tuple[Tensor, Tensor, slice]] = []
        if len(set(specs)) == 1:
            self._inner = specs[0].build(self._tensors)
            return
        groups: list[dict[str, Any]] = []
        start = 0
        for spec, same in groupby(specs):
            part = slice(start, start := start + len(list(same)))
            views = [tensor[part] for tensor in self._tensors]
            self._parts += [(t, v, part) for t, v in zip(self._tensors, views, strict=True)]
            groups.append({"params": views, **spec.settings()})
        self._inner = _CLASSES[specs[0].name](groups, **specs[0].mechanics(self._tensors))

    def step(self) -> None:
        """One step along the tensors' `grad`."""
        for tensor, view, part in self._parts:
            assert tensor.grad is not None
            view.grad = tensor.grad[part]
        self._inner.step()

    def snapshot(self) -> dict[str, Tensor]:
        """What it keeps, by the number of the tensor or view and torch's name."""
        kept = self._inner.state_dict()["state"]
        return {
            f"{number}.{name}": value
            for number, values in kept.items()
            for name, value in values.items()
            if isinstance(value, Tensor)
        }

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in kept.items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = tensor
        self._inner.load_state_dict({**self._inner.state_dict(), "state": state})

    @property
    def state(self) -> Mapping[Tensor, dict[str, Any]]:
        """What it keeps, by tensor or view."""
        return self._inner.state
