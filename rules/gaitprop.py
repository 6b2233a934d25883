"""GAIT-prop: target propagation whose targets are small, gradient-adjusted perturbations.

Notation: h_l = f(W_l h_{l-1} + b_l), D_l = f'(a_l), e_l the error at h_l.

The published form gives each layer an incremental target a step gamma away from its
activity, and inverts the layer above to find the one below (d_l is scaled back by m_l):

    u_l = (1 - k_l) h_l + k_l t_l,    k_l = gamma D_l^2
    t_{l-1} = W_l^{-1} (f^{-1}(u_l) - b_l),    d_l = m_l D_l (h_l - t_l),    m_{l-1} = m_l / gamma

While no unit changes branch of f between h_l and u_l, gamma cancels, which leaves the
difference form, e_{l-1} = W_l^{-1} (D_l e_l): backprop with the inverse in the place
of the transpose, and equal to it when W_l is orthogonal. It is the default: the finite
form loses about eps / gamma^{L-l} of its digits to cancellation in layer l.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from bioplaus.layers import Params
from bioplaus.network import Network
from bioplaus.profile import Citation, Plausibility
from bioplaus.rule import ForwardPass, LayeredRule, RuleConfig

from .orthogonality import OrthoForm, orthogonality_grad
from .sweep import Transport, backward_sweep


class GaitPropConfig(RuleConfig):
    """Defaults are the paper's (the authors' run.py), but for the difference form."""

    form: Literal["difference", "finite"] = Field(
        "difference", description="difference: gamma cancelled; finite: the published targets"
    )
    gamma: float = Field(
        1e-3, gt=0, le=1, description="size of the incremental targets in the finite form"
    )
    adjust: bool = Field(
        True, description="gate the targets by f'^2; false is incremental target propagation"
    )
    ortho: float = Field(0.1, ge=0, description="lambda, strength of the regulariser")
    ortho_form: OrthoForm = Field(
        "offdiag", description="offdiag: columns orthogonal; identity: W W^T = I"
    )


class GaitProp(LayeredRule[GaitPropConfig]):
    """Gradient-adjusted incremental target propagation: e_{l-1} = W_l^{-1} (D_l e_l)."""

    name = "gaitprop"
    Config = GaitPropConfig
    citation = Citation(
        authors="Ahmad, van Gerven and Ambrogioni",
        title="GAIT-prop: A biologically plausible learning rule derived from "
        "backpropagation of error",
        year=2020,
        venue="NeurIPS 33",
        identifier="arXiv:2006.06438",
    )

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="inverse",
            phases="one target pass",
            update_locking=True,
            backward_locking=True,
            local=True,
            # without the adjustment the finite form has f^-1 where the other divides by f'
            needs_derivative="local"
            if self.config.form == "finite" and not self.config.adjust
            else "transport",
            signed_errors="activity difference",
            auxiliary="exact inverses of the weights, orthogonality regulariser, auxiliary units",
            note="targets are gated by f'^2; layer l's error is amplified by gamma^-(L-l)",
        )

    def supports(self, net: Network) -> str | None:
        return why_not_invertible(net)

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        if self.config.form == "finite":
            return finite_deltas(fwd, self.config.gamma, self.config.adjust)
        return backward_sweep(fwd, inverse_transport(fwd, self.config.adjust))

    def penalty(self, net: Network, params: Params) -> Params:
        return orthogonality_grad(net, params, self.config.ortho, self.config.ortho_form)


def why_not_invertible(net: Network) -> str | None:
    """None where targets can be inverted down to layer 1's output; layer 1 is never inverted."""
    for l, layer in enumerate(net.layers[1:], start=2):
        reason = layer.why_not_invertible()
        if reason is None and not layer.activation.invertible:
            reason = f"its activation {layer.activation} has no inverse"
        if reason:
            return f"it inverts every layer above the first, and layer {l} cannot be: {reason}"
    return None


def inverse_transport(fwd: ForwardPass, adjust: bool) -> Transport:
    """e_{l-1} = W_l^{-1} (D_l e_l), or W_l^{-1} (e_l / D_l) without the adjustment (ITP)."""

    def transport(l: int, delta: Tensor) -> Tensor:
        step = fwd.trace[l]
        # delta = D e, so that e / D = delta / D^2
        signal = delta if adjust else delta / step.slope.square()
        return fwd.net.layers[l].solve(fwd.net.at(fwd.params, l), step.residuals, signal)

    return transport


def finite_deltas(fwd: ForwardPass, gamma: float, adjust: bool) -> list[Tensor]:
    """d_1 .. d_L from finite incremental targets, as published."""
    deltas = []
    target = fwd.trace[-1].output - fwd.error
    scale = 1.0
    for l in reversed(range(fwd.net.depth)):
        layer, step = fwd.net.layers[l], fwd.trace[l]
        deltas.append(scale * step.slope * (step.output - target))
        if l > 0:
            nearby = incremental_target(step.output, target, step.slope, gamma, adjust)
            a = layer.activation.inverse(nearby)
            target = layer.preimage(fwd.net.at(fwd.params, l), step.residuals, a)
            scale /= gamma
    return deltas[::-1]


def incremental_target(h: Tensor, t: Tensor, slope: Tensor, gamma: float, adjust: bool) -> Tensor:
    """u = (1 - k) h + k t with k = gamma D^2, or k = gamma without the adjustment."""
    k = gamma * slope.square() if adjust else gamma
    return (1 - k) * h + k * t
