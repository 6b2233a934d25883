"""Where a relaxation stops: the residual that a rule records, and whether it is small."""

from __future__ import annotations

from bioplaus.testing.cases import Case
from bioplaus.testing.check import check
from bioplaus.testing.failures import require

FAR = 0.1
"""A residual above it is a warning: a tenth of the activity, or of the error, has not arrived."""


@check("rest", "A relaxation says how far from rest it stops.", "default")
def rest(case: Case) -> str:
    metrics = case.update(case.inputs(0)).metrics
    if "residual" not in metrics:
        require(
            not case.cls.relaxes,
            "its activities relax, and no metric `residual` says how far from rest they stop",
            "record a residual, relative and without unit: 0 at rest, about 1 where all is missing",
        )
        return "nothing relaxes"
    found = float(metrics["residual"])
    require(
        0 <= found <= 10,
        f"its residual is {found:.1e}, which is not relative",
        "divide by the norm of what relaxes: 0 at rest, about 1 where all is missing",
    )
    return f"{'warning: far from rest, ' if found > FAR else ''}residual {found:.0e}"


CHECKS = (rest,)
