"""What an update reaches: every parameter, but for what the rule says rests."""

from __future__ import annotations

from bioplaus.learning.answers import resting_at
from bioplaus.testing.cases import Case
from bioplaus.testing.check import check
from bioplaus.testing.failures import require

STEPS = 64
"""As many as `rests` is asked for."""


@check("reach", "Every parameter gets some update, and what rests gets none.", "case")
def reach(case: Case) -> str:
    given = case.inputs(0)
    update = case.update(given)
    resting = resting_at(case.rule, case.net, 0, *given[:2])
    require(
        resting == resting_at(case.rule, case.net, 0, *given[:2]),
        "asked twice, `rests` gives two answers for one step",
        "it depends on the network and the step alone",
    )
    always = frozenset(given[0]).intersection(
        *(resting_at(case.rule, case.net, step, *given[:2]).params for step in range(STEPS))
    )
    require(
        always != given[0].keys(),
        f"all parameters rest in each of the first {STEPS} steps: it learns nothing",
        "let `rests` name those alone that do not learn in its step",
    )
    for name, grad in update.grads.items():
        require(
            bool(grad.any()) or name in resting.params,
            f"the update of {name} is zero",
            "does the error reach this layer? A layer that does not learn in a step rests: say so "
            "in `rests`; one that never can is not supported: say so in `supports`",
        )
    for names, grads in ((resting.params, update.total), (resting.aux, update.aux_grads)):
        for name in sorted(names):
            require(
                not grads[name].any(),
                f"{name} rests, and its gradient is not zero",
                "return zeros for what `rests` names, so that a probe sees what is learned",
            )
    count = len(resting.params) + len(resting.aux)
    return f"{count} tensors rest in the first step" if count else ""
