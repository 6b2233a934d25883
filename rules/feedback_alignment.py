"""Feedback alignment: errors come down through fixed random weights."""

from __future__ import annotations

from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.learning.sweep import adjoint_transport, backward_sweep, rewired
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .feedback import FEEDBACK_PATH, FixedFeedbackConfig, random_feedback
from .published import akrout, biotorch


class FeedbackAlignment(LayeredRule[FixedFeedbackConfig]):
    """Feedback alignment: e_{l-1} = B_l (D_l e_l) with fixed random B_l."""

    name = "feedback-alignment"
    mixes_examples = True
    in_time = True
    recurrent = True
    shares_weights = True
    Config = FixedFeedbackConfig
    citation = Citation(
        authors="Lillicrap, Cownden, Tweed and Akerman",
        title="Random synaptic feedback weights support error backpropagation for deep learning",
        year=2016,
        venue="Nature Communications 7",
        identifier="doi:10.1038/ncomms13276",
    )
    stackable = frozenset({"feedback_gain"})
    published = (*biotorch(1.70, 13.06), akrout(97.80))

    @property
    def search_space(self) -> SearchSpace:
        """The scale of fixed feedback sets every layer's learning rate below the last, in SGD."""
        return {
            "optimizer.lr": LEARNING_RATE,
            "feedback_gain": Around(0.5),
        }

    @property
    def scales(self) -> frozenset[str]:
        return frozenset({"feedback_gain"})

    @property
    def plausibility(self) -> Plausibility:
        return FEEDBACK_PATH

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        return State(aux={}, memory=random_feedback(net, stream, self.config.feedback()))

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        feedback = fwd.state.memory
        return backward_sweep(rewired(fwd, feedback), adjoint_transport(fwd, feedback))
