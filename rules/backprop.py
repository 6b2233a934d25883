"""Backpropagation of errors: the reference that every other rule is compared with."""

from __future__ import annotations

from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import RuleConfig
from bioplaus.learning.sweep import adjoint_transport, backward_sweep

from .published import akrout, biotorch


class Backprop(LayeredRule[RuleConfig]):
    """Backpropagation of errors: the exact gradient, e_{l-1} = W_l^T (D_l e_l)."""

    name = "backprop"
    mixes_examples = True
    in_time = True
    recurrent = True
    shares_weights = True
    citation = Citation(
        authors="Rumelhart, Hinton and Williams",
        title="Learning representations by back-propagating errors",
        year=1986,
        venue="Nature 323",
        identifier="doi:10.1038/323533a0",
    )
    published = (*biotorch(0.91, 9.2), akrout(98.50))

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="transpose",
            phases="one backward pass",
            update_locking=True,
            backward_locking=True,
            local=False,
            needs_derivative="transport",
            signed_errors="yes",
            auxiliary="a separate linear backward network",
        )

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        return backward_sweep(fwd, adjoint_transport(fwd, fwd.params))
