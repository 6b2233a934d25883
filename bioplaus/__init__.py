"""bioplaus: a benchmark suite for biologically plausible learning rules.

The public names load on first use, so that `import bioplaus` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bioplaus import nn
    from bioplaus.api import get_rule, list_rules, run
    from bioplaus.dataset import Dataset, Split, SplitName
    from bioplaus.diagnostics import alignment, plot_alignment
    from bioplaus.errors import BioplausError, DataError
    from bioplaus.learner import Learner, Step
    from bioplaus.optim import OptimizerSpec
    from bioplaus.profile import Citation, Plausibility
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
    from bioplaus.streams import Stream

_HOME = {
    "bioplaus.api": ("get_rule", "list_rules", "run"),
    "bioplaus.dataset": ("Dataset", "Split", "SplitName"),
    "bioplaus.diagnostics": ("alignment", "plot_alignment"),
    "bioplaus.errors": ("BioplausError", "DataError"),
    "bioplaus.learner": ("Learner", "Step"),
    "bioplaus.optim": ("OptimizerSpec",),
    "bioplaus.profile": ("Citation", "Plausibility"),
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
    "bioplaus.streams": ("Stream",),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Backward",
    "Batch",
    "BioplausError",
    "Citation",
    "DataError",
    "Dataset",
    "ForwardPass",
    "LayeredRule",
    "Learner",
    "LearningRule",
    "NoiseSpec",
    "OptimizerSpec",
    "Plausibility",
    "RuleConfig",
    "RuleState",
    "Split",
    "SplitName",
    "State",
    "Step",
    "Stream",
    "Update",
    "alignment",
    "backward",
    "get_rule",
    "list_rules",
    "nn",
    "plot_alignment",
    "run",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("bioplaus")
    if name == "nn":
        return importlib.import_module("bioplaus.nn")
    if name not in _WHERE:
        raise AttributeError(f"module 'bioplaus' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
