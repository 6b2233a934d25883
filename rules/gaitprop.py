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

The regulariser keeps the columns of W_l nearly orthogonal, so that D^{-1} W_l^T, with
D = diag(W_l^T W_l), is nearly its inverse. With inverse="refined" (the default) W_l^{-1} d
starts from there and is refined on the batch, through the Gram matrix that the regulariser
has made anyway; where that does not suffice, W_l is factorised (`numerics.refinement`).

With inverse="learned", V_l (f^{-1}(u_l) - c_l) takes the inverse's place, and V_l d that
of W_l^{-1} d; V_l and c_l learn to reconstruct h_{l-1} from h_l, and the weights above
layer 1 need not be square (the authors' unpublished branch learnable_inv).
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import Literal, Self

from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import AuxOptimizer, RuleConfig, State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.learning.sweep import Transport, adjoint_transport, backward_sweep
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .inverses import (
    Inverse,
    affine_inverse,
    affine_inverse_grad,
    exact_inverse,
    exact_transport,
    initial_inverses,
    why_not_invertible,
    why_targets_leave_range,
)
from .orthogonality import OrthoForm, is_present, orthogonality_grad
from .refined_inverses import RefinedInverseRule, Shared, shared_grams


class GaitPropConfig(RuleConfig):
    """Defaults are the paper's (the authors' run.py), but for the difference form.

    The optimizer is the task's, or one's own: the paper's is Adam of 1e-4 and betas (0.9,
    0.99) without correction of the bias, a `Learner`'s default torch's Adam of 1e-3.
    """

    form: Literal["difference", "finite"] = Field(
        "difference", description="difference: gamma cancelled; finite: the published targets"
    )
    gamma: float = Field(
        1e-3, gt=0, le=1, description="size of the incremental targets in the finite form"
    )
    adjust: bool = Field(
        True, description="gate the targets by f'^2; false is incremental target propagation"
    )
    inverse: Literal["refined", "exact", "learned"] = Field(
        "refined",
        description="refined: W^-1 d to 1e-4, from near orthogonality, or else by LU; exact: by "
        "LU (as without a regulariser, and in the finite form); learned: V, which learns to "
        "reconstruct the layer below",
    )
    inverse_lr: float = Field(
        3e-3,
        gt=0,
        description="learning rate of Adam for the learned inverses; of 1e-3, 3e-3 and 1e-2 the "
        "best on the validation split of digits",
    )
    ortho: float = Field(0.1, ge=0, description="lambda, strength of the regulariser")
    ortho_form: OrthoForm = Field(
        "offdiag", description="offdiag: columns orthogonal; identity: W W^T = I"
    )
    ortho_every: int = Field(
        1,
        ge=1,
        description="steps between two uses of the regulariser, each then so many times as strong",
    )


class GaitProp(RefinedInverseRule[GaitPropConfig]):
    """Gradient-adjusted incremental target propagation: e_{l-1} = W_l^{-1} (D_l e_l)."""

    name = "gaitprop"
    version = 2
    _regularises = True
    Config = GaitPropConfig
    citation = Citation(
        authors="Ahmad, van Gerven and Ambrogioni",
        title="GAIT-prop: A biologically plausible learning rule derived from "
        "backpropagation of error",
        year=2020,
        venue="NeurIPS 33",
        identifier="arXiv:2006.06438",
    )
    stackable = frozenset(["ortho"])

    @property
    def search_space(self) -> SearchSpace:
        """The authors searched learning rate and lambda on a grid (supplement of the paper)."""
        learned = {"inverse_lr": Around(1.0)} if self._learned else {}
        return {"optimizer.lr": LEARNING_RATE, "ortho": Around(1.0), **learned}

    @property
    def plausibility(self) -> Plausibility:
        learned = self._learned
        return Plausibility(
            weight_transport="none" if learned else "inverse",
            phases="one target pass" + (", and inverse training" if learned else ""),
            update_locking=True,
            backward_locking=True,
            local=True,
            # without the adjustment the finite form has f^-1 where the other divides by f'
            needs_derivative="local"
            if self.config.form == "finite" and not self.config.adjust
            else "transport",
            signed_errors="activity difference",
            auxiliary=("inverse weights V_l, c_l" if learned else "exact inverses of the weights")
            + ", orthogonality regulariser, auxiliary units",
            note="targets are gated by f'^2; " * self.config.adjust
            + "layer l's error is amplified by gamma^-(L-l)",
        )

    @property
    def _learned(self) -> bool:
        return self.config.inverse == "learned"

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        return OptimizerSpec(name="adam", lr=self.config.inverse_lr) if self._learned else None

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        if reason := why_not_invertible(net, self._learned):
            return reason
        if self.config.form == "finite" and (reason := why_targets_leave_range(net)):
            return f"{reason}; form=difference needs none"
        return None if self.config.adjust else why_slopes_vanish(net)

    def amplification(self, net: Network) -> float:
        """Of the finite form, whose layer 1 is scaled back by gamma^-(L-1)."""
        return self.config.gamma ** (1 - net.depth) if self.config.form == "finite" else 1.0

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        if not self._learned:
            return State({}, {})
        return State(initial_inverses(net, net.layers[1:], stream), {})

    def variant(self, step: int) -> Self:
        return self if step % self.config.ortho_every == 0 else self._between

    @cached_property
    def _between(self) -> Self:
        """This rule on the steps without the regulariser."""
        rule = self._like(self._plan)
        rule._regularises = False
        return rule

    @property
    def _refined(self) -> bool:
        """Nothing keeps the columns near orthogonal without the regulariser."""
        config = self.config
        return (
            config.inverse == "refined" and config.form == "difference" and is_present(config.ortho)
        )

    def shared(self, fwd: ForwardPass) -> Shared:
        return shared_grams(fwd, self._strength, self.config.ortho_form)

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        adjust = self.config.adjust
        if self.config.form == "finite":
            inverse = affine_inverse(fwd) if self._learned else exact_inverse(fwd)
            return finite_deltas(fwd, inverse, self.config.gamma, adjust)
        carry = self._transport(fwd)
        return backward_sweep(fwd, carry if adjust else ungated(fwd, carry))

    def _transport(self, fwd: ForwardPass) -> Transport:
        if self._learned:
            return adjoint_transport(fwd, fwd.state.aux)
        if self._refined:
            return exact_transport(fwd, partial(self.solver, fwd))
        return exact_transport(fwd)

    def metrics(self, fwd: ForwardPass, deltas: list[Tensor]) -> dict[str, Tensor]:
        return {} if self._learned else self.inverse_metrics(fwd)

    def penalty(self, fwd: ForwardPass) -> Params:
        form, grams = self.config.ortho_form, fwd.shared.grams
        return orthogonality_grad(fwd.net, fwd.params, self._strength, form, grams)

    @property
    def _strength(self) -> float:
        return self.config.ortho * self.config.ortho_every if self._regularises else 0.0

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        if not self._learned:
            return {}
        parts = (affine_inverse_grad(fwd, l) for l in range(1, fwd.net.depth))
        return fwd.net.join(parts, first=1)


def why_slopes_vanish(net: Network) -> str | None:
    """None where f' of no layer above the first can be 0: without the adjustment it divides."""
    for l, layer in enumerate(net.layers[1:], start=2):
        if layer.activation.bounded:
            return (
                f"layer {l}: without the adjustment errors are divided by f', which vanishes where "
                f"{layer.activation} saturates"
            )
    return None


def ungated(fwd: ForwardPass, transport: Transport) -> Transport:
    """W_l^{-1} (e_l / D_l) in the place of W_l^{-1} (D_l e_l): no adjustment (ITP)."""

    def ungated_transport(l: int, delta: Tensor) -> Tensor:
        # delta = D e, so that e / D = delta / D^2
        return transport(l, delta / fwd.trace[l].slope.square())

    return ungated_transport


def finite_deltas(fwd: ForwardPass, inverse: Inverse, gamma: float, adjust: bool) -> list[Tensor]:
    """d_1 .. d_L from finite incremental targets, as published."""
    deltas = []
    target = fwd.trace[-1].output - fwd.error
    scale = 1.0
    for l in reversed(range(fwd.net.depth)):
        step = fwd.trace[l]
        deltas.append(scale * step.slope * (step.output - target))
        if l > 0:
            target = inverse(l, incremental_target(step.output, target, step.slope, gamma, adjust))
            scale /= gamma
    return deltas[::-1]


def incremental_target(h: Tensor, t: Tensor, slope: Tensor, gamma: float, adjust: bool) -> Tensor:
    """u = (1 - k) h + k t with k = gamma D^2, or k = gamma without the adjustment."""
    k = gamma * slope.square() if adjust else gamma
    return (1 - k) * h + k * t
