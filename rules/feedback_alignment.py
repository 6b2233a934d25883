"""Feedback alignment: errors come down through fixed random weights."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from bioplaus.layers import Init, Params
from bioplaus.network import Network
from bioplaus.profile import Citation, Plausibility
from bioplaus.rule import ForwardPass, LayeredRule, RuleConfig, State
from bioplaus.streams import Stream

from .sweep import adjoint_transport, backward_sweep


class FeedbackAlignmentConfig(RuleConfig):
    feedback_gain: float = Field(
        1.0,
        gt=0,
        description="feedback weights are normal with variance gain^2 2 / (fan_in + fan_out)",
    )


class FeedbackAlignment(LayeredRule[FeedbackAlignmentConfig]):
    """Feedback alignment: e_{l-1} = B_l (D_l e_l) with fixed random B_l."""

    name = "feedback-alignment"
    Config = FeedbackAlignmentConfig
    citation = Citation(
        authors="Lillicrap, Cownden, Tweed and Akerman",
        title="Random synaptic feedback weights support error backpropagation for deep learning",
        year=2016,
        venue="Nature Communications 7",
        identifier="doi:10.1038/ncomms13276",
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
            auxiliary="feedback weights B_l",
        )

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        init = Init("xavier_normal", self.config.feedback_gain)
        return State(aux={}, memory=random_feedback(net, stream, init))

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        return backward_sweep(fwd, adjoint_transport(fwd, fwd.state.memory))


def random_feedback(net: Network, stream: Stream, init: Init) -> Params:
    """Feedback weights for every layer above the first, shaped like its forward weights."""
    parts = (
        {
            name: tensor
            for name, tensor in layer.init(stream.at("feedback", l + 1), init).items()
            if name == "weight"
        }
        for l, layer in enumerate(net.layers)
        if l > 0
    )
    return net.join(parts, first=1)
