"""Direct random target projection: every hidden layer learns from the label, not from an error."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import RuleConfig, State
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream


class DirectRandomTargetProjectionConfig(RuleConfig):
    feedback_gain: float = Field(
        1.0,
        gt=0,
        description="B_l is uniform between plus and minus gain sqrt(6 / n_l), the authors' "
        "Kaiming initialisation; a step size of the hidden layers, which Adam cancels",
    )


class DirectRandomTargetProjection(LayeredRule[DirectRandomTargetProjectionConfig]):
    """Direct random target projection: d_l = D_l * (B_l t) with fixed random B_l, for l < L.

    t is the target (one-hot, N x C), B_l (n_l x C) a matrix of as many rows as layer l has
    units, whatever their arrangement. No error reaches a hidden layer: it may learn as soon as
    its own activity is there. The last layer learns by the loss's gradient, d_L = D_L * e_L.

    Hidden layers are pushed the same way in every step, whether the answer was right or wrong:
    what stops them is that f' vanishes where f saturates. So hidden activations must be
    bounded; with others activity grows for as long as training lasts.

    Compared with the authors' code (ChFrenkel/DirectRandomTargetProjection, function.py,
    module.py and models.py), which puts B^T t where the gradient of the batch's sum is due:
    gradients of 9-12-7-4 tanh and of a convolution, pooling and two dense layers agree to 4e-16.
    """

    name = "direct-random-target-projection"
    Config = DirectRandomTargetProjectionConfig
    needs = "targets"
    citation = Citation(
        authors="Frenkel, Lefebvre and Bol",
        title="Learning without feedback: fixed random learning signals allow for feedforward "
        "training of deep neural networks",
        year=2021,
        venue="Frontiers in Neuroscience 15",
        identifier="doi:10.3389/fnins.2021.629892",
        equations="arXiv:1909.01311; its code, function.py",
    )
    stackable = frozenset({"feedback_gain"})

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="none",
            phases="none: the label is projected to every layer",
            update_locking=False,
            backward_locking=False,
            local=True,
            needs_derivative="local",
            signed_errors="none",
            auxiliary="projections B_l from the label to every layer",
            note="only the last layer has an error, its own",
        )

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        for l, layer in enumerate(net.layers[:-1], start=1):
            if layer.multiply_adds() > 0 and not layer.activation.bounded:
                return (
                    f"layer {l}: {layer.activation} has no bounds, and the label pushes hidden "
                    "activity the same way for ever"
                )
        return None

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        parts = (
            {"projection": self._projection(stream.at("projection", l + 1), net, l)}
            if net.at(params, l)
            else {}
            for l in range(net.depth - 1)
        )
        return State(aux={}, memory=net.join(parts))

    def _projection(self, stream: Stream, net: Network, l: int) -> Tensor:
        units = math.prod(net.layers[l].out_shape)
        bound = self.config.feedback_gain * math.sqrt(6 / units)
        return bound * (2 * stream.uniform((units, net.classes)) - 1)

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        top = fwd.trace[-1].slope * fwd.error
        return [*(_projected(fwd, l) for l in range(fwd.net.depth - 1)), top]


def _projected(fwd: ForwardPass, l: int) -> Tensor:
    """D_l * (B_l t); 0 for a layer without weights."""
    slope = fwd.trace[l].slope
    projection = fwd.net.at(fwd.state.memory, l)
    if not projection:
        return torch.zeros_like(slope)
    return slope * (fwd.batch.y @ projection["projection"].T).reshape(slope.shape)
