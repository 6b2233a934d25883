"""Sign symmetry: feedback weights share the signs of the forward weights, not their size."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import NoiseSpec, RuleConfig, State
from bioplaus.learning.sweep import adjoint_transport, backward_sweep, rewired
from bioplaus.network.layer import Init, Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .feedback import FEEDBACK_PATH, feedback_shapes, mirrored, random_feedback, xavier_scale
from .published import biotorch


class SignSymmetryConfig(RuleConfig):
    magnitude: Literal["uniform", "fixed", "batch"] = Field(
        "uniform",
        description="|B_l|: one scale for all (uSF), random but fixed (frSF), or drawn afresh "
        "for every batch (brSF)",
    )


class SignSymmetry(LayeredRule[SignSymmetryConfig]):
    """Sign symmetry: e_{l-1} = B_l (D_l e_l) with B_l = |M_l| * sign(W_l)^T.

    |M_l| = s_l = sqrt(2 / (fan_in + fan_out)), the deviation of Xavier's initial weights
    ("uniform"; a convolution's fans count its kernel's positions); or |M_l| of a Xavier
    uniform M_l, drawn once ("fixed") or for every batch ("batch"). sign(0) = 0.
    """

    name = "sign-symmetry"
    mixes_examples = True
    in_time = True
    recurrent = True
    shares_weights = True
    Config = SignSymmetryConfig
    citation = Citation(
        authors="Liao, Leibo and Poggio",
        title="How important is weight symmetry in backpropagation?",
        year=2016,
        venue="AAAI 30",
        identifier="arXiv:1510.05067",
        equations="the scale s_l: Xiao et al., arXiv:1811.03567; uSF, frSF, brSF as in BioTorch",
    )
    published = tuple(biotorch(0.94, 9.69, "uniform magnitudes"))

    @property
    def plausibility(self) -> Plausibility:
        return FEEDBACK_PATH.model_copy(
            update={
                "weight_transport": "sign",
                "auxiliary": "feedback weights with the signs of the forward weights",
            }
        )

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        if self.config.magnitude != "batch":
            return {}
        return {name: NoiseSpec(shape, "uniform") for name, shape in feedback_shapes(net).items()}

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        if self.config.magnitude != "fixed":
            return State({}, {})
        drawn = random_feedback(net, stream, Init("xavier_uniform"))
        return State(aux={}, memory={name: m.abs() for name, m in drawn.items()})

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        feedback = self._feedback(fwd)
        return backward_sweep(rewired(fwd, feedback), adjoint_transport(fwd, feedback))

    def _feedback(self, fwd: ForwardPass) -> Params:
        """B_l of all that is mirrored, shaped like W_l."""
        parts: list[Params] = [
            {
                name: self._size(fwd, l, name, w) * torch.sign(w)
                for name, w in fwd.net.at(fwd.params, l).items()
                if name in mirrored(fwd.net, l)
            }
            for l in range(fwd.net.depth)
        ]
        return fwd.net.join(parts)

    def _size(self, fwd: ForwardPass, l: int, name: str, weight: Tensor) -> Tensor | float:
        """|M_l|, or the one scale s_l."""
        if self.config.magnitude == "fixed":
            return fwd.net.at(fwd.state.memory, l)[name]
        scale = xavier_scale(tuple(weight.shape))
        if self.config.magnitude == "uniform":
            return scale
        # |M| of a uniform M with deviation s is uniform on (0, sqrt(3) s)
        return 3**0.5 * scale * fwd.net.at(fwd.noise, l)[name]
