"""Direct feedback alignment: the output's error goes straight to every layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.learning.sweep import adjoint_transport, backward_sweep
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .feedback import FEEDBACK_PATH, FixedFeedbackConfig
from .published import biotorch


class DirectFeedbackAlignment(LayeredRule[FixedFeedbackConfig]):
    """Direct feedback alignment: e_l = B_l d_L with fixed random B_l from the output to layer l.

    d_l = D_l * e_l for l < L. B_l is a matrix of as many rows as layer l has units,
    whatever their arrangement (n_l x n_L): B_l d_L is reshaped to a convolution's channels
    and positions. Layers without parameters learn nothing and have no B_l; their d_l is 0.
    On networks in time d_L is that of the layer below the readout, and goes down step by step.
    """

    name = "direct-feedback-alignment"
    in_time = True
    Config = FixedFeedbackConfig
    citation = Citation(
        authors="Nøkland",
        title="Direct feedback alignment provides learning in deep neural networks",
        year=2016,
        venue="NeurIPS 29",
        identifier="arXiv:1609.01596",
    )
    stackable = frozenset({"feedback_gain"})
    published = tuple(biotorch(1.61, 12.81))

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
        return FEEDBACK_PATH.model_copy(
            update={
                "phases": "one broadcast of the output's error",
                "backward_locking": False,
                "auxiliary": "feedback weights B_l from the output to every layer",
                "note": "of the slopes, only the output's is in what is broadcast",
            }
        )

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        outputs = math.prod(net.layers[net.top].unit_shape)
        init = self.config.feedback()
        parts = (
            {
                "feedback": init.weight(
                    stream.at("feedback", l + 1), math.prod(layer.unit_shape), outputs
                )
            }
            if net.at(params, l)
            else {}
            for l, layer in enumerate(net.layers[: net.top])
        )
        return State(aux={}, memory=net.join(parts))

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        above = backward_sweep(fwd, adjoint_transport(fwd, fwd.params), down_to=fwd.net.top)
        return [*(_broadcast(fwd, l, above[0]) for l in range(fwd.net.top)), *above]


def _broadcast(fwd: ForwardPass, l: int, top: Tensor) -> Tensor:
    """D_l * (B_l d_L)."""
    step = fwd.trace[l]
    feedback = fwd.net.at(fwd.state.memory, l)
    if not feedback:
        return torch.zeros_like(step.slope)
    error = (top @ feedback["feedback"].T).reshape(step.slope.shape)
    return fwd.net.layers[l].pull(step, error)
