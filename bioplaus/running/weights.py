"""Trained weights in files beside their record, and what of a rule's state an answer needs.

`seed-0003.pt` holds the parameters, `seed-0003.state.pt` the rule's state, "aux/..." and
"memory/...", where its `predict` may read it. Both are flat dicts of tensors, read with
`weights_only=True`: they cannot run code.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bioplaus.errors import RecordError
from bioplaus.learning.batching import Rule
from bioplaus.learning.rule import LearningRule, State
from bioplaus.network.layer import Params
from bioplaus.system.atomic_files import write_atomically


def answers_from_state(rule: Rule) -> bool:
    """Whether a rule's answers may depend on more than the parameters."""
    return type(rule).predict is not LearningRule.predict


@dataclass(frozen=True)
class Weights:
    """One seed's trained network, on the CPU."""

    params: Params
    state: State
    """Empty where answers do not depend on it."""

    @classmethod
    def of(cls, rule: Rule, params: Params, state: State) -> Weights:
        """The parameters, and the state where the rule answers from it."""
        return cls(params, state if answers_from_state(rule) else State({}, {}))

    def flat_state(self) -> Params:
        """The state as one dict: "aux/1.weight", "memory/..."."""
        return {f"aux/{n}": t for n, t in self.state.aux.items()} | {
            f"memory/{n}": t for n, t in self.state.memory.items()
        }

    @property
    def digest(self) -> str:
        """SHA-256 over names, dtypes, shapes and numbers, whatever file they came from."""
        found = hashlib.sha256()
        for name, tensor in sorted({**self.params, **self.flat_state()}.items()):
            array = tensor.detach().cpu().contiguous().numpy()
            found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            found.update(array.tobytes())
        return found.hexdigest()


def files(record: Path, rule: Rule) -> tuple[Path, ...]:
    """Where the weights of a record's seed are kept: of parameters, and of state if need be."""
    names = (".pt", ".state.pt") if answers_from_state(rule) else (".pt",)
    return tuple(record.with_suffix(name) for name in names)


def save(weights: Weights, record: Path, rule: Rule) -> None:
    """Write them beside a record's file; RecordError where that cannot be."""
    parts = (weights.params, weights.flat_state())
    for path, tensors in zip(files(record, rule), parts, strict=False):
        buffer = io.BytesIO()
        torch.save({name: t.clone() for name, t in tensors.items()}, buffer)
        write_atomically(path, buffer.getvalue())


def load(record: Path, rule: Rule) -> Weights | None:
    """The weights beside a record's file; None where they are not all there.

    RecordError where a file holds anything else.
    """
    paths = files(record, rule)
    if not all(path.is_file() for path in paths):
        return None
    params, *rest = (_read(path) for path in paths)
    state = rest[0] if rest else {}
    return Weights(params, State(_part(state, "aux/"), _part(state, "memory/")))


def _part(tensors: Mapping[str, Tensor], prefix: str) -> Params:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _read(path: Path) -> Params:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError):
        raise RecordError(f"{path}: damaged, no tensors can be read from it") from None
    if not isinstance(found, dict) or not all(isinstance(t, Tensor) for t in found.values()):
        raise RecordError(f"{path}: not weights by name")
    return found
