"""Dendritic microcircuits: errors are what interneurons fail to cancel of the top-down input.

A hidden layer l has pyramidal neurons of potential u_l and rate r_l = f(u_l), r_0 = x, and as many
interneurons as there are neurons above, of potential i_l. At the steady state, in units in
which a_l is what the basal dendrite makes the soma expect:

    a_l = W_l r_{l-1} + b_l,   u_l = a_l + alpha v_l            basal and apical dendrite
    v_l = B_l (f(u_{l+1}) - f(i_l))                              top down, less the interneurons
    i_l = (1 - lambda) (P_l r_l + p_l) + lambda u_{l+1}          predict the layer above
    u_L = a_L - lambda e_L,   e_L the loss's gradient at f(a_L)  the nudge

alpha is the apical share of the soma's conductance, lambda that of the nudge. Where
P_l = W_{l+1} and p_l = b_{l+1}, the self-predicting state, there is no apical potential without a
nudge, and the circuit computes the forward pass. Every synapse learns from its dendrite's own
prediction:

    s_l = lambda (alpha (1 - lambda))^{L-l}
    d_l = (f(a_l) - f(u_l)) / s_l,   gW_l = <d_l r_{l-1}^T>
    gP_l = <(f(P_l r_l + p_l) - f(i_l)) r_l^T> / (lambda s_{l+1})

s_l is how much of an error reaches layer l: with B_l = W_{l+1}^T in the self-predicting state d_l
is backprop's as lambda -> 0, and so is gP_l -> gW_{l+1}, which keeps the state while weights learn.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import (
    AuxOptimizer,
    Batch,
    LearningRule,
    RuleConfig,
    State,
    Update,
)
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import Init, LayerTrace, Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .chains import branching
from .feedback import feedback_alignment, random_feedback


class DendriticMicrocircuitConfig(RuleConfig):
    nudge: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="lambda, the share of the nudge in a potential; at 0.1 updates of the digits' "
        "square network lose 1e-4 in float32",
    )
    apical: float = Field(
        0.42,
        gt=0,
        lt=1,
        description="alpha, the apical share of a soma's conductance: 0.8 of 0.1 + 1 + 0.8",
    )
    feedback: Literal["random", "transpose"] = Field(
        "random", description="top-down weights B_l: fixed random ones, or W_{l+1}^T"
    )
    feedback_gain: float = Field(
        1.0,
        gt=0,
        description="random only: they are uniform with variance gain^2 2 / (fan_in + fan_out)",
    )
    interneurons: Literal["learned", "ideal"] = Field(
        "ideal",
        description="ideal: P_l and p_l stay at the self-predicting state, as copies of the "
        "weights above; learned: they start there and learn",
    )
    sweeps: int = Field(5, ge=1, description="from the top down, towards the steady state")


class DendriticMicrocircuit(LearningRule[DendriticMicrocircuitConfig]):
    """Dendritic microcircuits: apical dendrites hold the errors, interneurons the expectation.

    The steady state of the published dynamics, which is iterated here and not integrated in
    time; as in the authors' own runs on MNIST. Weights from interneurons to apical dendrites
    are held at -B_l, where their learning without targets leads. The attenuation of the
    basal potential, g_B / (g_lk + g_B + g_A), is part of W_l.

    By default interneurons predict perfectly. Learned ones follow the weights above at a
    distance, which apical dendrites take for an error. At nudge 0.1 and Adam's 1e-3, with two
    hidden layers (digits-mlp) they predict to 0.5 % and train as the ideal do, 91.4 and 91.5 %
    after ten epochs; with three (digits-square) the loss does not fall.

    The metric "residual" is how far the potentials are from their next sweep, relative to what
    apical dendrites and the nudge add to them; "feedback_alignment" the smallest cosine
    over the layers of B_l and W_{l+1}^T; "prediction" the mean of ||P_l r_l + p_l - a_{l+1}||
    / ||a_{l+1}|| over the layers, 0 in the self-predicting state.
    """

    name = "dendritic-microcircuit"
    relaxes = True
    Config = DendriticMicrocircuitConfig
    citation = Citation(
        authors="Sacramento, Ponte Costa, Bengio and Senn",
        title="Dendritic cortical microcircuits approximate the backpropagation algorithm",
        year=2018,
        venue="NeurIPS 31",
        identifier="arXiv:1810.11393",
        equations="equations 1 to 9 at their steady state, and the supplement's limit of weak "
        "nudging",
    )
    stackable = frozenset({"nudge", "apical", "feedback_gain"})

    @property
    def search_space(self) -> SearchSpace:
        return {"optimizer.lr": LEARNING_RATE, "nudge": Around(0.5)}

    @property
    def plausibility(self) -> Plausibility:
        config = self.config
        copies = config.interneurons == "ideal"
        return Plausibility(
            weight_transport="transpose" if config.feedback == "transpose" or copies else "none",
            phases=f"one nudged relaxation of {config.sweeps} sweeps",
            update_locking=False,
            backward_locking=False,
            local=True,
            needs_derivative="no",
            signed_errors="activity difference",
            auxiliary="an interneuron for every neuron above, weights to it"
            + ("" if config.feedback == "transpose" else ", top-down weights B_l"),
            note="an error is the apical potential; interneurons copy the weights above"
            if copies
            else "an error is the apical potential",
        )

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        return "same" if self.config.interneurons == "learned" else None

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        for l, layer in enumerate(net.layers, start=1):
            if reason := branching(layer, l):
                return f"{reason}, and its microcircuits know one layer above"
            if layer.multiply_adds() == 0:
                return f"layer {l} has no weights, and so no dendrites"
        return None

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        """P_l and p_l under the names of what they predict, "l.weight" and "l.bias" from l = 2."""
        learned = self.config.interneurons == "learned"
        above = {f"{l + 1}." for l in range(1, net.depth)}
        aux = {
            name: tensor.clone()
            for name, tensor in params.items()
            if learned and name[: name.index(".") + 1] in above
        }
        if self.config.feedback == "transpose":
            return State(aux, {})
        init = Init("xavier_uniform", self.config.feedback_gain)
        return State(aux, random_feedback(net, stream, init))

    def update(
        self, net: Network, params: Params, state: State, batch: Batch, noise: Params
    ) -> Update:
        circuit = self._circuit(net, params, state, batch.x)
        free = net.forward(params, batch.x)[-1].output
        rest = circuit.relax(self.config.sweeps, batch.y)
        moved = circuit.sweep(rest, batch.y)
        grads: Params = {}
        aux: Params = {}
        misses, displaced, left = [], [], []
        for l, layer in enumerate(net.layers):
            step = circuit.basal(rest, l)
            delta = (step.output - layer.activation(rest[l])) / self._reach(net, l)
            grads |= net.join([layer.weight_grad(step.residuals, delta)], first=l)
            displaced.append((rest[l] - step.preactivation).square().sum())
            left.append((rest[l] - moved[l]).square().sum())
            if l == 0:
                continue
            expected, potential = circuit.interneurons(rest, l)
            miss = (expected.output - layer.activation(potential)) / self._reach(net, l)
            part = layer.weight_grad(expected.residuals, miss / self.config.nudge)
            aux |= net.join([part], first=l)
            apart = (expected.preactivation - step.preactivation).norm()
            misses.append(apart / step.preactivation.norm().clamp_min(tiny(apart)))
        added = torch.stack(displaced).sum().sqrt()
        metrics = {
            "loss": net.loss.value(free, batch.y),
            "residual": torch.stack(left).sum().sqrt() / added.clamp_min(tiny(added)),
            **feedback_alignment(params, state.memory),
        }
        if misses:
            metrics["prediction"] = torch.stack(misses).mean()
        return Update(
            grads=grads,
            penalty={},
            aux_grads={name: aux[name] for name in state.aux},
            memory=state.memory,
            metrics=metrics,
        )

    def predict(self, net: Network, params: Params, state: State, x: Tensor) -> Tensor:
        """The output's rates at the steady state without a nudge, (N, n_L)."""
        rest = self._circuit(net, params, state, x).relax(self.config.sweeps, None)
        return net.layers[-1].activation(rest[-1])

    def _circuit(self, net: Network, params: Params, state: State, x: Tensor) -> Microcircuit:
        down = params if self.config.feedback == "transpose" else state.memory
        return Microcircuit(
            net, params, down, state.aux or params, x, self.config.nudge, self.config.apical
        )

    def _reach(self, net: Network, l: int) -> float:
        """s_l, how much of an error reaches layer l, from 0."""
        share = self.config.apical * (1 - self.config.nudge)
        return self.config.nudge * share ** (net.depth - 1 - l)


class Microcircuit(NamedTuple):
    """One network with its input held at x, (N, *in_shape). Potentials are those of all layers."""

    net: Network
    params: Params
    down: Params
    """B_l, named as the weights of the layer above."""
    lateral: Params
    """P_l and p_l, named as what they predict."""
    x: Tensor
    nudge: float
    apical: float

    def basal(self, potentials: list[Tensor], l: int) -> LayerTrace:
        """a_l, and f of it."""
        below = self.x if l == 0 else self.net.layers[l - 1].activation(potentials[l - 1])
        return self.net.step(self.params, l, below)

    def interneurons(self, potentials: list[Tensor], l: int) -> tuple[LayerTrace, Tensor]:
        """Below layer l > 0: what they expect of it, P r + p and f of it, and their potential."""
        below = self.net.layers[l - 1].activation(potentials[l - 1])
        expected = self.net.step(self.lateral, l, below)
        return expected, (1 - self.nudge) * expected.preactivation + self.nudge * potentials[l]

    def sweep(self, potentials: list[Tensor], y: Tensor | None) -> list[Tensor]:
        """All potentials moved once, from the top down; nudged towards y, unless it is None."""
        moved = list(potentials)
        for l in reversed(range(self.net.depth)):
            step = self.basal(potentials, l)
            if l < self.net.depth - 1:
                moved[l] = step.preactivation + self.apical * self._apical(moved, l)
            elif y is None:
                moved[l] = step.preactivation
            else:
                moved[l] = step.preactivation - self.nudge * self.net.loss.error(step.output, y)
        return moved

    def relax(self, sweeps: int, y: Tensor | None) -> list[Tensor]:
        """The potentials after so many sweeps from the forward pass."""
        found = [step.preactivation for step in self.net.forward(self.params, self.x)]
        for _ in range(sweeps):
            found = self.sweep(found, y)
        return found

    def _apical(self, potentials: list[Tensor], l: int) -> Tensor:
        """v_l, where the layers above l have moved and l has not."""
        above = self.net.layers[l + 1]
        expected, potential = self.interneurons(potentials, l + 1)
        difference = above.activation(potentials[l + 1]) - above.activation(potential)
        return above.adjoint(self.net.at(self.down, l + 1), expected.residuals, difference)


def tiny(like: Tensor) -> float:
    """The smallest normal number, in the place of a divisor that is 0."""
    return torch.finfo(like.dtype).tiny
