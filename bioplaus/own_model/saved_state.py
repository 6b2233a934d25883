"""Going on from a learner's saved state: all of it, or none."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bioplaus.errors import ModelError, shown
from bioplaus.learning.rule import State
from bioplaus.own_model.rule_state import RuleState

_PARTS = (
    "rule", "options", "seed", "steps", "model", "aux", "memory", "optimizer", "aux_optimizer",
)  # fmt: skip


def restore(
    saved: object, state: RuleState, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Take a saved state over; ModelError where it does not fit, and then nothing is changed."""
    kept = _checked(saved, state, model, optimizer)
    before = (
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
        copy.deepcopy(optimizer.state_dict()),
        copy.deepcopy(state.optimizer.state_dict()) if state.optimizer is not None else None,
    )
    try:
        _load(model, optimizer, state, kept["model"], kept["optimizer"], kept["aux_optimizer"])
        state.take(State(kept["aux"], kept["memory"]))
    except Exception as error:  # what was checked does not raise; a stranger's optimizer may
        _load(model, optimizer, state, *before)
        raise ModelError(f"the state cannot be taken: {shown(error, 300)}") from error
    state.seed, state.step = kept["seed"], kept["steps"]


def _load(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: RuleState,
    weights: Mapping[str, Any],
    moments: dict[str, Any],
    own_moments: dict[str, Any] | None,
) -> None:
    model.load_state_dict(weights)
    optimizer.load_state_dict(moments)
    if state.optimizer is not None and own_moments is not None:
        state.optimizer.load_state_dict(own_moments)


def _checked(
    saved: object, state: RuleState, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Mapping[str, Any]:
    lacking = [part for part in _PARTS if not isinstance(saved, Mapping) or part not in saved]
    if not isinstance(saved, Mapping) or lacking:
        raise ModelError(
            f"this is no state of a learner: it lacks {', '.join(lacking)}; take what "
            "learner.state_dict() gave (a model's own state goes into model.load_state_dict)"
        )
    options = state.rule.config.model_dump(mode="json")
    if (saved["rule"], saved["options"]) != (state.rule.name, options):
        raise ModelError(
            f"the state is of {shown(saved['rule'])} with {shown(saved['options'])}, not of "
            f"{state.rule.name} with {options}"
        )
    _check_tensors(saved["model"], model.state_dict(), "the model's tensors")
    _check_tensors(saved["aux"], state.aux, "the rule's tensors")
    _check_tensors(saved["memory"], state.memory, "the rule's tensors")
    _check_optimizer(saved["optimizer"], optimizer, "optimizer")
    if state.optimizer is not None:
        _check_optimizer(saved["aux_optimizer"], state.optimizer, "rule's own optimizer")
    for part in ("seed", "steps"):
        if type(saved[part]) is not int or saved[part] < 0:
            raise ModelError(f"the state's {part} is {shown(repr(saved[part]))}, no whole number")
    return saved


def _check_tensors(given: object, due: Mapping[str, Any], what: str) -> None:
    shapes = {name: tuple(t.shape) for name, t in due.items() if isinstance(t, Tensor)}
    tensors = given if isinstance(given, Mapping) else {}
    found = {name: tuple(t.shape) for name, t in tensors.items() if isinstance(t, Tensor)}
    wrong = [name for name in {**shapes, **found} if shapes.get(name) != found.get(name)]
    if wrong:
        name = wrong[0]
        raise ModelError(
            f"the state is of another model: of {what}, {shown(name)} has the shape "
            f"{found.get(name, 'none')}, here {shapes.get(name, 'none')}"
        )


def _check_optimizer(given: object, optimizer: torch.optim.Optimizer, what: str) -> None:
    """That a saved optimizer is of this one's kind, over parameters of the same shapes."""
    here = optimizer.state_dict()
    parts: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    groups: list[Any] = parts.get("param_groups", [])
    due = here["param_groups"]
    sizes = [[len(group["params"]) for group in side] for side in (groups, due)]
    if sizes[0] != sizes[1]:
        raise ModelError(
            f"the state's {what} holds groups of {sizes[0]} tensors, this learner's {sizes[1]}: "
            "make the learner with an optimizer over the same parameters"
        )
    for group, other in zip(groups, due, strict=True):
        lacking = sorted(other.keys() - group.keys() - {"initial_lr"})
        if lacking:
            raise ModelError(
                f"the state's {what} is of another kind: it has no {', '.join(lacking)}; make the "
                f"learner with the same kind of optimizer, here {type(optimizer).__name__}"
            )
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    for number, values in parts.get("state", {}).items():
        for name, value in values.items():
            fits = not isinstance(value, Tensor) or value.dim() == 0
            if not fits and value.shape != tensors[number].shape:
                raise ModelError(
                    f"the state's {what} is of another model: its {name} of parameter {number} "
                    f"has the shape {tuple(value.shape)}"
                )
