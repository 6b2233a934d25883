"""Kolen-Pollack: feedback weights that get the forward weights' updates come to mirror them."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from bioplaus.layers import InitScheme, Params
from bioplaus.network import Network
from bioplaus.optim import OptimizerSpec
from bioplaus.profile import Citation, Plausibility
from bioplaus.rule import ForwardPass, LayeredRule, State
from bioplaus.streams import Stream

from .feedback import FeedbackConfig, random_feedback
from .sweep import adjoint_transport, backward_sweep


class KolenPollackConfig(FeedbackConfig):
    """Defaults are those of the code of Akrout et al.: variance 1 / (n_in + n_out)."""

    feedback_init: InitScheme = Field(
        "xavier_normal", description="how the feedback weights B_l are drawn at the start"
    )
    feedback_gain: float = Field(0.5**0.5, gt=0, description="factor on the drawn feedback weights")


class KolenPollack(LayeredRule[KolenPollackConfig]):
    """Kolen-Pollack: e_{l-1} = B_l (D_l e_l), where B_l learns by W_l's own update and decay.

        W_l <- W_l - eta (gW_l + lambda W_l),   gW_l = <d_l h_{l-1}^T>
        B_l <- B_l - eta (gW_l^T + lambda B_l)

    so that W_l - B_l^T shrinks by 1 - eta lambda at every step. That takes the same
    optimizer for both ("same"), with a decay, and one that shrinks the weights by a
    factor: SGD's, with or without momentum, or AdamW's. With Adam's L2 term, which is
    divided by each weight's own scale, or without decay, B_l does not converge to W_l^T;
    nor does it where W_l alone is clipped or gets a penalty.
    """

    name = "kolen-pollack"
    Config = KolenPollackConfig
    citation = Citation(
        authors="Akrout, Wilson, Humphreys, Lillicrap and Tweed",
        title="Deep learning without weight transport",
        year=2019,
        venue="NeurIPS 32",
        identifier="arXiv:1904.05391",
        equations="16 and 17, after Kolen and Pollack (1994), Backpropagation without weight "
        "transport",
    )

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="none",
            phases="one backward pass",
            update_locking=True,
            backward_locking=True,
            local=True,
            needs_derivative="transport",
            signed_errors="yes",
            auxiliary="learned feedback weights B_l, weight decay on both",
            note="the two synapses of a pair see the same product of activities",
        )

    @property
    def optimizer(self) -> OptimizerSpec:
        return OptimizerSpec(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-3)

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        return State(aux=random_feedback(net, stream, self.config.feedback()), memory={})

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        return backward_sweep(fwd, adjoint_transport(fwd, fwd.state.aux))

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        return {name: grads[name] for name in fwd.state.aux}
