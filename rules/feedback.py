"""Feedback weights: what the rules of the feedback-alignment family have in common.

e_{l-1} = B_l d_l for l = 2..L, with weights B_l in the place of W_l^T. B_l is kept
shaped like W_l and goes to the layer's `adjoint` in its place, so a convolution's
feedback is a kernel. There are no feedback biases and there is no B_1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.learning.profile import Plausibility
from bioplaus.learning.rule import RuleConfig
from bioplaus.network.layer import Init, Params, Shape
from bioplaus.network.network import Network
from bioplaus.network.recurrent import Recurrent
from bioplaus.numerics.random_streams import Stream

FEEDBACK_PATH = Plausibility(
    weight_transport="none",
    phases="one backward pass",
    update_locking=True,
    backward_locking=True,
    local=True,
    needs_derivative="transport",
    signed_errors="yes",
    auxiliary="feedback weights B_l",
)
"""The family's profile; each rule is its difference from it."""


class FixedFeedbackConfig(RuleConfig):
    """Feedback weights that stay as they are drawn, which the BioTorch code does like this."""

    feedback_gain: float = Field(
        1.0,
        gt=0,
        description="feedback weights are uniform with variance gain^2 2 / (fan_in + fan_out)",
    )

    def feedback(self) -> Init:
        """The distribution of the feedback weights."""
        return Init("xavier_uniform", self.feedback_gain)


class LearnedFeedbackConfig(RuleConfig):
    """Feedback weights that learn; the code of Akrout et al. (2019) starts them like this."""

    feedback_gain: float = Field(
        1.0,
        gt=0,
        description="feedback weights start normal with variance gain^2 / (fan_in + fan_out)",
    )

    def feedback(self) -> Init:
        """The distribution of the feedback weights at the start."""
        return Init("xavier_normal", math.sqrt(0.5) * self.feedback_gain)


def mirrored(net: Network, l: int) -> tuple[str, ...]:
    """Which parameters of layer l, from 0, have feedback weights of their shape in their place.

    The weights above the first layer, which in networks in time is the one above the encoder; and
    recurrent weights, along which errors go back in time, in that layer too.
    """
    below = ("weight",) if l > net.bottom else ()
    return (*below, "recurrent") if isinstance(net.layers[l], Recurrent) else below


def random_feedback(net: Network, stream: Stream, init: Init) -> Params:
    """Feedback weights for all that is `mirrored`, shaped like the forward weights."""
    parts = (
        {
            name: tensor
            for name, tensor in layer.init(stream.at("feedback", l + 1), init).items()
            if name in names
        }
        if (names := mirrored(net, l))
        else {}
        for l, layer in enumerate(net.layers)
    )
    return net.join(parts)


@lru_cache(maxsize=16)
def feedback_shapes(net: Network) -> Mapping[str, Shape]:
    """The shapes of `random_feedback`; remembered, since a draw is how to learn them."""
    drawn = random_feedback(net, Stream(0), Init("xavier_uniform"))
    return MappingProxyType({name: tuple(tensor.shape) for name, tensor in drawn.items()})


def xavier_scale(shape: Shape) -> float:
    """sqrt(2 / (fan_in + fan_out)) of weights (n_out, n_in) or kernels (n_out, n_in, ...)."""
    return math.sqrt(2 / ((shape[0] + shape[1]) * math.prod(shape[2:])))


def feedback_alignment(params: Params, feedback: Params) -> dict[str, Tensor]:
    """The smallest cosine over the layers of B_l, stored like W_l, with W_l: a metric.

    {} where there are no feedback weights; 0 for a layer whose weights or feedback are 0.
    """
    pairs = [(params[name], b) for name, b in feedback.items() if name in params]
    cosines = [
        (w * b).sum() / (w.norm() * b.norm()).clamp_min(torch.finfo(w.dtype).tiny) for w, b in pairs
    ]
    return {"feedback_alignment": torch.stack(cosines).amin()} if cosines else {}
