"""Dual propagation: neurons have two states, whose mean is activity and whose difference is error.

States z_l^+ and z_l^-, with mean m_l and difference q_l, start equal, at the forward pass. A sweep
goes from the top to the bottom, each layer from its neighbours' states at that moment:

    a_l = W_l m_{l-1} + b_l
    z_L^+- = f(a_L -+ beta e_L),   e_L the loss's gradient at m_L
    z_l^+- = f(a_l +- 1/2 W_{l+1}^T q_{l+1})
    d_l = -q_l / (2 beta),   gW_l = <d_l m_{l-1}^T>

and between sweeps the layers below the top move once more, from the bottom up. Where f is linear
between its two states d_l is backprop's, whatever beta; else as beta -> 0.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field
from torch import Tensor

from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import Batch, LearningRule, RuleConfig, State, Update
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import LayerTrace, Params
from bioplaus.network.network import Network


class DualPropagationConfig(RuleConfig):
    beta: float = Field(
        0.5, gt=0, description="strength of the nudge, how far apart the output's two states are"
    )
    sweeps: int = Field(
        1, ge=1, description="from the top down; two in the authors' default, with one up between"
    )


class DualPropagation(LearningRule[DualPropagationConfig]):
    """Dual propagation: contrastive Hebbian learning in one phase, of neurons with two states.

    There is no free and no nudged phase, and no relaxation: a sweep or two. The way down is
    by the transpose, without a derivative, which the two states' difference brings itself.

    After the authors' code (Rasmuskh/Dual-Propagation, julia_MLP_experiments, read and written
    anew in the tests, not run): its order of updates, with the linearised nudge
    (`infer_zL_lin_mse!`) for any loss, and feedback gain 1. The nudge goes through an output's
    activation here, where theirs is linear.
    """

    name = "dual-propagation"
    Config = DualPropagationConfig
    citation = Citation(
        authors="Høier, Staudt and Zach",
        title="Dual propagation: accelerating contrastive Hebbian learning with dyadic neurons",
        year=2023,
        venue="ICML 40",
        identifier="arXiv:2302.01228",
        equations="section 3, with alpha = 1/2; its code, utils.jl",
    )
    stackable = frozenset({"beta"})

    @property
    def search_space(self) -> SearchSpace:
        return {"optimizer.lr": LEARNING_RATE, "beta": Around(1.0)}

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="transpose",
            phases=f"{self.config.sweeps} sweeps from the top down",
            update_locking=False,
            backward_locking=False,
            local=True,
            needs_derivative="no",
            signed_errors="activity difference",
            auxiliary="a second state in every neuron",
            note="symmetric connections",
        )

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        forward = net.forward(params, batch.x)
        pairs = [Pair(step.output, step.output) for step in forward]
        for sweep in range(self.config.sweeps):
            if sweep > 0:
                for l in range(net.depth - 1):
                    pairs = self._moved(net, params, batch, pairs, l)
            for l in reversed(range(net.depth)):
                pairs = self._moved(net, params, batch, pairs, l)
        grads: Params = {}
        for l, layer in enumerate(net.layers):
            delta = -pairs[l].difference / (2 * self.config.beta)
            step = self._from_below(net, params, batch, pairs, l)
            grads |= net.join([layer.weight_grad(step.residuals, delta)], first=l)
        return Update(
            grads=grads,
            penalty={},
            aux_grads={},
            memory=state.memory,
            metrics={"loss": net.loss.value(forward[-1].output, batch.y)},
        )

    def _moved(
        self, net: Network, params: Params, batch: Batch, pairs: list[Pair], l: int
    ) -> list[Pair]:
        """All states after layer l moved to where its neighbours want it."""
        step = self._from_below(net, params, batch, pairs, l)
        if l == net.depth - 1:
            push = -self.config.beta * net.loss.error(pairs[l].mean, batch.y)
        else:
            above = self._from_below(net, params, batch, pairs, l + 1)
            weights = net.at(params, l + 1)
            difference = pairs[l + 1].difference
            push = net.layers[l + 1].adjoint(weights, above.residuals, difference) / 2
        f, a = net.layers[l].activation, step.preactivation
        return [*pairs[:l], Pair(f(a + push), f(a - push)), *pairs[l + 1 :]]

    def _from_below(
        self, net: Network, params: Params, batch: Batch, pairs: list[Pair], l: int
    ) -> LayerTrace:
        """What layer l makes of the activity below it."""
        return net.step(params, l, pairs[l - 1].mean if l > 0 else batch.x)


class Pair(NamedTuple):
    """A layer's two states, each (N, *shape)."""

    plus: Tensor
    minus: Tensor

    @property
    def mean(self) -> Tensor:
        """m_l, its activity."""
        return (self.plus + self.minus) / 2

    @property
    def difference(self) -> Tensor:
        """q_l."""
        return self.plus - self.minus
