"""Weight mirrors: feedback weights learn the forward weights' transpose from noise."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import NoiseSpec, State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.learning.sweep import adjoint_transport, backward_sweep
from bioplaus.network.layer import LayerTrace, Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .feedback import FEEDBACK_PATH, LearnedFeedbackConfig, feedback_alignment, random_feedback
from .published import akrout


class WeightMirrorConfig(LearnedFeedbackConfig):
    """Defaults are those of the authors' code, but for the decay, the centring and the point.

    Its mirror rate of 0.01 is for a sum over 128 patterns, hence 1.28 for their mean. It
    also mirrors for one epoch before the first step; here B starts random.
    """

    mirror_rate: float = Field(1.28, gt=0, description="eta_B, learning rate of the mirror")
    mirror_batch: int = Field(128, ge=2, description="noise patterns at every step")
    mirror_noise: float = Field(
        0.05, gt=0, description="the noise xi is uniform between plus and minus this"
    )
    mirror_decay: float = Field(
        1e-3,
        ge=0,
        le=1,
        description="lambda_B; the authors' code has none, and B grows without bound. "
        "mirror_rate * mirror_noise^2 / 3 makes it settle at (f' W)^T",
    )
    mirror_at: Literal["zero", "bias"] = Field(
        "zero",
        description="where noise finds the units: zero, without their biases, where it moves a "
        "relu as well as a sigmoid; bias, as in the authors' code, where a relu whose bias is "
        "further below 0 than noise reaches stays silent, and its feedback decays to 0",
    )
    centre: bool = Field(
        True, description="subtract the response's batch mean, which carries noise, no signal"
    )


class WeightMirror(LayeredRule[WeightMirrorConfig]):
    """Weight mirror: e_{l-1} = B_l (D_l e_l), where B_l learns W_l^T from noise in a mirror mode.

    At every step each layer by itself (its noise goes no further) answers to zero-mean
    noise xi of variance s^2 at its input, z = f(W_l xi), and

        B_l <- (1 - lambda_B) B_l + eta_B <xi z^T>,   <xi z^T> ~ s^2 f'(0) W_l^T

    where <> is the mean over the noise patterns and, for a convolution, its positions; a
    relu's slope counts 1/2. With mirror_at=bias, z = f(W_l xi + b_l), and f'(b_l) is of each
    unit its own. The step's errors come down through B_l as it was before. The metric
    `silent_units` is the share of units that no pattern moved, in the worst layer.
    """

    name = "weight-mirror"
    version = 2
    mixes_examples = True
    shares_weights = True
    Config = WeightMirrorConfig
    citation = Citation(
        authors="Akrout, Wilson, Humphreys, Lillicrap and Tweed",
        title="Deep learning without weight transport",
        year=2019,
        venue="NeurIPS 32",
        identifier="arXiv:1904.05391",
        equations="equation 7",
    )
    stackable = frozenset(["feedback_gain", "mirror_rate", "mirror_decay"])
    published = (akrout(98.49),)

    @property
    def search_space(self) -> SearchSpace:
        """Learning rates of the network and of the mirror."""
        return {
            "optimizer.lr": LEARNING_RATE,
            "mirror_rate": Around(0.5),
        }

    @property
    def plausibility(self) -> Plausibility:
        return FEEDBACK_PATH.model_copy(
            update={
                "phases": "one backward pass, and a mirror mode on noise",
                "auxiliary": "learned feedback weights B_l, noise mode",
            }
        )

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        return {
            str(l + 1): NoiseSpec((self.config.mirror_batch, *net.layers[l].in_shape), "uniform")
            for l in range(1, net.depth)
        }

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        return State(aux={}, memory=random_feedback(net, stream, self.config.feedback()))

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        return backward_sweep(fwd, adjoint_transport(fwd, fwd.state.memory))

    def shared(self, fwd: ForwardPass) -> dict[int, LayerTrace]:
        """Each layer's answer to its noise, by its number from 0."""
        net, held = fwd.net, fwd.state.memory
        mirrored = (l for l in range(1, net.depth) if net.at(held, l) and net.leader(l) == l)
        return {l: self._answer(fwd, l) for l in mirrored}

    def metrics(self, fwd: ForwardPass, deltas: list[Tensor]) -> dict[str, Tensor]:
        silent = [
            (step.output == step.output[:1]).all(0).to(step.output.dtype).mean()
            for step in fwd.shared.values()
        ]
        return feedback_alignment(fwd.params, fwd.state.memory) | (
            {"silent_units": torch.stack(silent).amax()} if silent else {}
        )

    def next_memory(self, fwd: ForwardPass) -> Params:
        parts = (self._mirrored(fwd, l) for l in range(1, fwd.net.depth))
        return fwd.net.join(parts, first=1)

    def _answer(self, fwd: ForwardPass, l: int) -> LayerTrace:
        xi = self.config.mirror_noise * (2 * fwd.noise[str(l + 1)] - 1)
        p = fwd.net.at(fwd.params, l)
        if self.config.mirror_at == "zero" and "bias" in p:
            p = p | {"bias": torch.zeros_like(p["bias"])}
        return fwd.net.layers[l].trace(p, xi)

    def _mirrored(self, fwd: ForwardPass, l: int) -> Params:
        """Layer l's B after one batch of noise, shaped like W; {} for a layer without weights."""
        if l not in fwd.shared:
            return {}
        layer, step = fwd.net.layers[l], fwd.shared[l]
        z = step.output - step.output.mean(0) if self.config.centre else step.output
        before = fwd.net.at(fwd.state.memory, l)["weight"]
        positions = layer.multiply_adds() // before.numel()
        signal = layer.weight_grad(step.residuals, z)["weight"] / positions
        return {
            "weight": (1 - self.config.mirror_decay) * before + self.config.mirror_rate * signal
        }
