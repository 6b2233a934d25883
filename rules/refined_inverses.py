"""Inverses by refinement, and how a rule and its harness agree on how far to trust them.

Alone, `update` is right in any case: on the CPU by looking, on an accelerator by LU. Where
the harness looks at the metrics of every epoch (`LearningRule.watched`), the accelerator
refines instead, so often as each layer has needed: three times, twelve, or not at all (LU).
An epoch in which that did not suffice is taken again.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Mapping
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.rule import C
from bioplaus.network.layer import Solver
from bioplaus.numerics import refinement
from bioplaus.numerics.refinement import (
    MORE_REFINEMENTS,
    REFINEMENTS,
    Refined,
    refined_to,
    solve_rows_refined,
)

from .orthogonality import OrthoForm, gram_matrices, is_present

LU = 0
"""In the place of a number of refinements."""
_STRONGER = {REFINEMENTS: MORE_REFINEMENTS, MORE_REFINEMENTS: LU, LU: LU}
_HOPELESS = 1000.0
_NEEDED = "refinements."
_LOST = "inverse_lost"

Plan = tuple[tuple[int, int], ...]
"""Refinements of the layers, by number from 1, that need more than REFINEMENTS."""

Solved = dict[int, Refined]
"""What was solved on the way down, by the layer's number from 0."""


class Shared(NamedTuple):
    """What the hooks of one step share."""

    grams: dict[int, Tensor]
    """W_l^T W_l by number from 0, where the regulariser needs them."""
    solved: Solved
    """Filled on the way down, where inverses are refined."""


def shared_grams(fwd: ForwardPass, strength: float | Tensor, form: OrthoForm) -> Shared:
    """With the Gram matrices where a regulariser of that strength and form needs them."""
    needed = is_present(strength) and form == "offdiag"
    return Shared(gram_matrices(fwd.net, fwd.params) if needed else {}, {})


class RefinedInverseRule(LayeredRule[C], ABC):
    """A layered rule that solves with its weights by refinement."""

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self._plan: Plan | None = None
        self._siblings: dict[Plan | None, RefinedInverseRule[C]] = {None: self}

    def watched(self) -> Self:
        return self._planned(())

    def adapted(self, metrics: Mapping[str, float]) -> Self:
        """Each layer refined as often as it needed in the epoch that is over."""
        needed = _needed(metrics)
        if self._plan is None or not needed:
            return self
        return self._planned(_plan({l: _chosen(number) for l, number in needed.items()}))

    def redone(self, metrics: Mapping[str, float]) -> Self | None:
        """Where the error of an inverse was above its bound in any step: more refinements."""
        if self._plan is None or not metrics.get(_LOST):
            return None
        now = dict(self._plan)
        stronger = {
            l: LU if _chosen(number) == LU else _STRONGER[now.get(l, REFINEMENTS)]
            for l, number in _needed(metrics).items()
        }
        rule = self._planned(_plan(stronger))
        return None if rule is self else rule

    def solver(self, fwd: ForwardPass, l: int) -> Solver:
        """For layer l, from 0, by refinement; what it finds is added to the shared."""
        grams, solved = cast(Shared, fwd.shared)
        gram = grams.get(l)
        number = None if self._plan is None else dict(self._plan).get(l + 1, REFINEMENTS)

        def solve(matrix: Tensor, rows: Tensor) -> Tensor:
            found = solve_rows_refined(matrix, rows, gram, number)
            solved[l] = found
            return found.rows

        return solve

    def inverse_metrics(self, fwd: ForwardPass) -> dict[str, Tensor]:
        """`inverse_error`, the worst layer's; and what `adapted` and `redone` go by."""
        solved = fwd.shared.solved
        none = torch.zeros_like(fwd.error[0, 0])
        errors = torch.stack([none, *(refined.error for refined in solved.values())])
        found = {"inverse_error": errors.amax()}
        if (
            self._plan is None
            or not solved
            or refinement.operator_looks(fwd.error)
            or fwd.error.dtype == torch.float64
        ):
            return found
        bound = refined_to(fwd.error)
        early = torch.stack([refined.early for refined in solved.values()])
        numbers = refinements_needed(early, bound).unbind()
        needed = {f"{_NEEDED}{l + 1}": n for l, n in zip(solved, numbers, strict=True)}
        # NaN is lost too
        lost = (~(errors <= bound)).to(none.dtype).sum()
        return {**found, _LOST: lost, **needed}

    def _planned(self, plan: Plan) -> Self:
        """This rule with another plan; the same one again for the same plan."""
        if plan not in self._siblings:
            self._siblings[plan] = self._like(plan)
        return cast(Self, self._siblings[plan])

    def _like(self, plan: Plan | None) -> Self:
        other = type(self)(self.config)
        other._plan, other._siblings = plan, self._siblings
        return other


def refinements_needed(early: Tensor, bound: float) -> Tensor:
    """How many refinements bring the relative error to half of the bound, real.

    early: the error, of one or several systems, after REFINEMENTS: rho^(REFINEMENTS + 1) for a
    factor rho a refinement.
    """
    rho = early.clamp_min(torch.finfo(early.dtype).tiny).log() / (REFINEMENTS + 1)
    number = math.log(bound / 2) / rho - 1
    # NaN is hopeless too
    return torch.where(early < 0.9, number.clamp(0, _HOPELESS), _HOPELESS)


def _needed(metrics: Mapping[str, float]) -> dict[int, float]:
    return {int(n.removeprefix(_NEEDED)): v for n, v in metrics.items() if n.startswith(_NEEDED)}


def _chosen(needed: float) -> int:
    """With a little to spare where a step may need more than the epoch's mean."""
    if needed <= REFINEMENTS:
        return REFINEMENTS
    return MORE_REFINEMENTS if needed <= 0.8 * MORE_REFINEMENTS else LU


def _plan(chosen: Mapping[int, int]) -> Plan:
    return tuple(sorted((l, number) for l, number in chosen.items() if number != REFINEMENTS))
