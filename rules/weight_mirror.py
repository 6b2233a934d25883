"""Weight mirrors: feedback weights learn the forward weights' transpose from noise."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import NoiseSpec, State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.learning.sweep import adjoint_transport, backward_sweep
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .feedback import FEEDBACK_PATH, LearnedFeedbackConfig, feedback_alignment, random_feedback
from .published import akrout


class WeightMirrorConfig(LearnedFeedbackConfig):
    """Defaults are those of the authors' code, but for the decay and the centring.

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
    centre: bool = Field(
        True, description="subtract the response's batch mean, which carries noise, no signal"
    )


class WeightMirror(LayeredRule[WeightMirrorConfig]):
    """Weight mirror: e_{l-1} = B_l (D_l e_l), where B_l learns W_l^T from noise in a mirror mode.

    At every step each layer by itself (its noise goes no further) answers to zero-mean
    noise xi of variance s^2 at its input, z = f(W_l xi + b_l), and

        B_l <- (1 - lambda_B) B_l + eta_B <xi z^T>,   <xi z^T> ~ s^2 W_l^T diag(f'(b_l))

    where <> is the mean over the noise patterns and, for a convolution, its positions.
    The step's errors come down through B_l as it was before.
    """

    name = "weight-mirror"
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

    def metrics(self, fwd: ForwardPass, deltas: list[Tensor]) -> dict[str, Tensor]:
        return feedback_alignment(fwd.params, fwd.state.memory)

    def next_memory(self, fwd: ForwardPass) -> Params:
        parts = (self._mirrored(fwd, l) for l in range(1, fwd.net.depth))
        return fwd.net.join(parts, first=1)

    def _mirrored(self, fwd: ForwardPass, l: int) -> Params:
        """Layer l's B after one batch of noise, shaped like W; {} for a layer without weights."""
        before = fwd.net.at(fwd.state.memory, l)
        if not before or fwd.net.leader(l) != l:
            return {}
        xi = self.config.mirror_noise * (2 * fwd.noise[str(l + 1)] - 1)
        step = fwd.net.step(fwd.params, l, xi)
        z = step.output - step.output.mean(0) if self.config.centre else step.output
        weight = before["weight"]
        layer = fwd.net.layers[l]
        positions = layer.multiply_adds() // weight.numel()
        signal = layer.weight_grad(step.residuals, z)["weight"] / positions
        return {
            "weight": (1 - self.config.mirror_decay) * weight + self.config.mirror_rate * signal
        }
