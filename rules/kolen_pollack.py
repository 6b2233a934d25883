"""Kolen-Pollack: feedback weights that get the forward weights' updates come to mirror them."""

from __future__ import annotations

from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import AuxOptimizer, State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.learning.sweep import adjoint_transport, backward_sweep, rewired
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .feedback import FEEDBACK_PATH, LearnedFeedbackConfig, feedback_alignment, random_feedback
from .published import akrout


class KolenPollack(LayeredRule[LearnedFeedbackConfig]):
    """Kolen-Pollack: e_{l-1} = B_l (D_l e_l), where B_l learns by W_l's own update and decay.

        W_l <- W_l - eta (gW_l + lambda W_l),   gW_l = <d_l h_{l-1}^T>
        B_l <- B_l - eta (gW_l^T + lambda B_l)

    so that W_l - B_l^T shrinks by the factor 1 - eta lambda at every step. That takes one
    and the same optimizer for both, with a decay: SGD's (with momentum the difference has
    the same momentum) or AdamW's. With Adam's L2 term, which is divided by each weight's
    own scale, or without decay, B_l does not converge to W_l^T; nor does it where W_l alone
    is clipped or gets a penalty.
    """

    name = "kolen-pollack"
    version = 2
    mixes_examples = True
    in_time = True
    recurrent = True
    shares_weights = True
    Config = LearnedFeedbackConfig
    citation = Citation(
        authors="Akrout, Wilson, Humphreys, Lillicrap and Tweed",
        title="Deep learning without weight transport",
        year=2019,
        venue="NeurIPS 32",
        identifier="arXiv:1904.05391",
        equations="equations 16 and 17, after Kolen and Pollack (1994), Backpropagation "
        "without weight transport",
    )
    stackable = frozenset({"feedback_gain"})
    published = (akrout(98.45),)

    @property
    def search_space(self) -> SearchSpace:
        """The decay is what makes the feedback weights meet the forward ones."""
        return {
            "optimizer.lr": LEARNING_RATE,
            "optimizer.weight_decay": Around(1.0),
        }

    @property
    def plausibility(self) -> Plausibility:
        return FEEDBACK_PATH.model_copy(
            update={
                "auxiliary": "learned feedback weights B_l, weight decay on both",
                "note": "the two synapses of a pair see the same product of activities",
            }
        )

    @property
    def optimizer(self) -> OptimizerSpec:
        """SGD with decay on both weights, at which W - B^T is gone within some 1,000 steps.

        It shrinks by about exp(-lr decay / (1 - momentum)) a step: of what there was, 2 % are
        left after 2,000 steps, and 82 % at the 0.01 and 1e-3 of unibe-cns/sal-code, with which
        this rule is hardly more than feedback alignment on digits.
        """
        return OptimizerSpec(name="sgd", lr=0.1, momentum=0.9, weight_decay=2e-3)

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        return "same"

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        return State(aux=random_feedback(net, stream, self.config.feedback()), memory={})

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        feedback = fwd.state.aux
        return backward_sweep(rewired(fwd, feedback), adjoint_transport(fwd, feedback))

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        # copies: a caller may scale or zero gradients in place
        return {name: grads[name].clone() for name in fwd.state.aux}

    def metrics(self, fwd: ForwardPass, deltas: list[Tensor]) -> dict[str, Tensor]:
        return feedback_alignment(fwd.params, fwd.state.aux)
