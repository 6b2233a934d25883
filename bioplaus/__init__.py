"""bioplaus: a benchmark suite for biologically plausible learning rules.

The public names load on first use, so that `import bioplaus` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bioplaus.api import get_rule, list_rules, run
    from bioplaus.errors import BioplausError
    from bioplaus.rule import (
        Batch,
        ForwardPass,
        LayeredRule,
        LearningRule,
        NoiseSpec,
        RuleConfig,
        State,
        Update,
    )
    from bioplaus.sequential import Backward, RuleState, backward

_HOME = {
    "bioplaus.api": ("get_rule", "list_rules", "run"),
    "bioplaus.errors": ("BioplausError",),
    "bioplaus.rule": (
        "Batch",
        "ForwardPass",
        "LayeredRule",
        "LearningRule",
        "NoiseSpec",
        "RuleConfig",
        "State",
        "Update",
    ),
    "bioplaus.sequential": ("Backward", "RuleState", "backward"),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Backward",
    "Batch",
    "BioplausError",
    "ForwardPass",
    "LayeredRule",
    "LearningRule",
    "NoiseSpec",
    "RuleConfig",
    "RuleState",
    "State",
    "Update",
    "backward",
    "get_rule",
    "list_rules",
    "run",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("bioplaus")
    if name not in _WHERE:
        raise AttributeError(f"module 'bioplaus' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
