"""Zero-divergence inference learning: predictive coding that is backprop, by timing alone.

Predictive coding of step size 1 from the forward pass, in which layer l learns at the
moment t = L - l, and only then: the error has just arrived at node l, while everything
below is still as the forward pass left it,

    eps_l(t = L-l) = W_{l+1}^T (D_{l+1} eps_{l+1}(t-1)),    mu_{l-1}(t) = h_{l-1}

so that d_l is backprop's. In single precision it is off by about the rounding of h_l
over e_l, since the error is had as a difference of activities.
"""

from __future__ import annotations

from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import RuleConfig

from .relaxation import (
    energy_target,
    node_deltas,
    outputs,
    prediction_errors,
    predictions,
    sweep,
)


class ZeroDivergenceInference(LayeredRule[RuleConfig]):
    """Zero-divergence inference learning: predictive coding timed so that it is backprop."""

    name = "z-il"
    shares_weights = True
    citation = Citation(
        authors="Song, Lukasiewicz, Xu and Bogacz",
        title="Can the brain do backpropagation? Exact implementation of backpropagation "
        "in predictive coding networks",
        year=2020,
        venue="NeurIPS 33",
    )

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="transpose",
            phases="relaxation of L steps",
            update_locking=False,
            backward_locking=True,
            local=True,
            needs_derivative="transport",
            signed_errors="error units",
            auxiliary="error units one to one, a global clock that opens plasticity by layer",
        )

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        trace, mus = fwd.trace, [*outputs(fwd.net, fwd.trace)[:-1], fwd.batch.y]
        arrived = []
        for k in reversed(range(len(mus))):
            arrived.append(prediction_errors(fwd, trace, mus)[k])
            if k > 0:
                mus = sweep(mus, energy_target(fwd, trace), step_size=1.0)
                trace = predictions(fwd, mus)
        # node k learns in the moment when all below it is still as the forward pass left it
        return node_deltas(fwd, fwd.trace, arrived[::-1], fwd.params)
