"""How much a rule makes of rounding, where that alone could be the difference."""

from __future__ import annotations

from bioplaus.testing.cases import Inputs
from bioplaus.testing.failures import require

ROUNDING_SHOWN = 1e-6
"""Relative, in float64: what one unit in the last place of the parameters may come to."""


def judge_rounding(moved: float, what: str) -> None:
    """Failure for a rule that makes so much of rounding that nothing else can be told from it."""
    require(
        moved <= ROUNDING_SHOWN,
        f"{what} moves by {moved:.1e} of its norm when the parameters move by one unit in the "
        "last place: the rule makes much of rounding errors",
        "a difference of nearly equal numbers, or an inverse of what is nearly singular? A finite "
        "difference wants a larger step",
    )


def rounded(given: Inputs) -> Inputs:
    """The parameters moved by about one unit in the last place."""
    params = {name: tensor * (1 + 2**-52) for name, tensor in given[0].items()}
    return (params, *given[1:])
