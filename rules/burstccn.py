"""BurstCCN: bursts carry the error, in one phase, through two kinds of feedback.

Events are the activities, e_l = h_l = sigmoid(a_l); a fraction p_l of them are bursts,
p0 without an error. Bursts and events come down through separate weights, and a
neuron's apical potential u_l is what they differ by:

    p_L = p0 (1 + (t - e_L) * (1 - e_L))                          (the teacher)
    b_l = p_l * e_l
    u_l = Y_l^T b_{l+1} - Q_l^T e_{l+1}
    p_l = 2 p0 sigmoid((2 / p0) u_l * (1 - e_l))
    d_l = -(b_l - p0 e_l) / p0

With Q_l = p0 Y_l and errors small enough for the sigmoid to be linear, these are feedback
alignment's d_l with B_l = Y_l^T. The division by p0 is ours: it puts d_l in backprop's units.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility, Published
from bioplaus.learning.rule import AuxOptimizer, RuleConfig, State
from bioplaus.learning.search_space import LEARNING_RATE, Around, SearchSpace
from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream


class BurstCcnConfig(RuleConfig):
    burst_feedback: Literal["random", "symmetric-init", "tied", "kolen-pollack"] = Field(
        "random",
        description="Y_l: random and fixed; W_{l+1} as it was at the start; W_{l+1} at all times; "
        "random and learned by the same products as W_{l+1}",
    )
    event_feedback: Literal["learned", "matched"] = Field(
        "learned",
        description="Q_l starts at p0 Y_l; learned: it follows the apical potential, or with "
        "kolen-pollack p0 times Y_l's gradient; matched: it is p0 Y_l at all times",
    )
    baseline: float = Field(0.5, gt=0, le=0.5, description="p0, burst probability without error")
    burst_scale: float = Field(0.5, gt=0, description="standard deviation of a random Y_l")
    event_lr: float = Field(
        7.31e-4, gt=0, description="learning rate of plain SGD for learned Q_l, the authors'"
    )
    burst_curve: Literal["sigmoid", "linear"] = Field(
        "sigmoid", description="linear: p_l = p0 + u_l (1 - e_l), the small-error limit"
    )


class BurstCcn(LayeredRule[BurstCcnConfig]):
    """BurstCCN: deviations of the burst probability carry errors, events cancel the rest.

    Defaults are those of the authors' MNIST notebook, but for the learning rate. Event
    weights that are learned at its rate follow fixed burst weights only: with tied ones
    choose event_feedback=matched, or a bias of the potential drowns the error.
    """

    name = "burstccn"
    Config = BurstCcnConfig
    citation = Citation(
        authors="Greedy, Zhu, Pemberton, Mellor and Costa",
        title="Single-phase deep learning in cortico-cortical networks",
        year=2022,
        venue="NeurIPS",
        identifier="arXiv:2206.11769",
    )
    stackable = frozenset(["burst_scale"])
    published = (
        Published(
            metric="mnist test accuracy",
            value=0.9413,
            note="784-500-500-500-10, random feedback, after 2 epochs",
            source="output of the authors' notebook",
        ),
    )

    @property
    def search_space(self) -> SearchSpace:
        """Learning rate, and the scale of the fixed burst feedback."""
        return {
            "optimizer.lr": LEARNING_RATE,
            "burst_scale": Around(0.5),
        }

    @property
    def plausibility(self) -> Plausibility:
        config, copied = self.config, "symmetric-init"
        return Plausibility(
            weight_transport="transpose" if config.burst_feedback == "tied" else "none",
            phases="one phase: events and bursts are multiplexed",
            update_locking=True,
            backward_locking=True,
            local=True,
            needs_derivative="no",
            signed_errors="activity difference",
            auxiliary="burst and event feedback weights Y_l, Q_l; interneurons",
            note="a factor 1 - e_l in the burst probability has the place of f'; errors are "
            "deviations of that probability from p0"
            + ("; burst weights start as transposes" if config.burst_feedback == copied else ""),
        )

    @property
    def optimizer(self) -> OptimizerSpec:
        # the authors' 0.3 is for layers of 500 units; with 64, on digits, rates of 0.3, 1
        # and 3 reached 88.0, 96.8 and 97.3 % of the validation split in 50 epochs
        return OptimizerSpec(name="sgd", lr=1.0)

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        if self.config.burst_feedback == "kolen-pollack":
            return "same"
        if self.config.event_feedback == "matched":
            return None
        return OptimizerSpec(name="sgd", lr=self.config.event_lr)

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        if net.loss.name != "mse":
            return f"its teacher is the squared error's, not {net.loss.name}'s"
        for l, layer in enumerate(net.layers, start=1):
            if layer.branches:
                return (
                    f"layer {l} carries values past others or combines them (a residual block, a "
                    "graph), which are no rates of one population"
                )
            weightless = layer.multiply_adds() == 0 and l < net.depth
            expected = "identity" if weightless else "sigmoid"
            if layer.activation.name != expected:
                return f"layer {l}: events are rates, sigmoid(a), not {layer.activation}"
        return None

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        config = self.config
        weights = {k: w for k, w in params.items() if k.endswith(".weight") and k[:2] != "1."}
        if config.burst_feedback in ("symmetric-init", "tied"):
            bursts = {name: w.clone() for name, w in weights.items()}
        else:
            bursts = {
                name: config.burst_scale * stream.at("burst feedback", name).normal(w.shape)
                for name, w in weights.items()
            }
        y = {name.replace("weight", "burst"): tensor for name, tensor in bursts.items()}
        q = {name.replace("weight", "event"): config.baseline * w for name, w in bursts.items()}
        aux = q if config.event_feedback == "learned" else {}
        if config.burst_feedback == "kolen-pollack":
            return State(aux=y | aux, memory={})
        return State(aux=aux, memory={} if config.burst_feedback == "tied" else y)

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        e = fwd.trace[-1].output
        deltas = [e * (1 - e) * fwd.error]  # -(b_L - p0 e_L) / p0, with p_L as the teacher sets it
        for l in reversed(range(fwd.net.depth - 1)):
            potential = self._potential(fwd, l + 1, deltas[-1])
            if fwd.net.at(fwd.params, l):
                deltas.append(-self._burst_deviation(potential, fwd.trace[l].output))
            else:  # a layer without neurons passes the potential on
                deltas.append(potential)
        return deltas[::-1]

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        """gQ_l = -<e_{l+1} u_l^T>; with Kolen and Pollack gY_l = gW_{l+1}, gQ_l = p0 gY_l."""
        kolen_pollack = self.config.burst_feedback == "kolen-pollack"
        aux: Params = {}
        for name in fwd.state.aux:
            number, kind = name.split(".")
            if kolen_pollack:
                grad = grads[f"{number}.weight"]
                aux[name] = grad if kind == "burst" else self.config.baseline * grad
                continue
            l = int(number) - 1
            layer, potential = fwd.net.layers[l], self._potential(fwd, l, deltas[l])
            _, residuals = layer.forward(fwd.net.at(fwd.params, l), potential)
            aux[name] = -layer.weight_grad(residuals, fwd.trace[l].output)["weight"]
        return aux

    def _potential(self, fwd: ForwardPass, l: int, delta: Tensor) -> Tensor:
        """u below layer l, counted from 0, from the bursts b_l = p0 (e_l - d_l) in it."""
        layer, residuals, e = fwd.net.layers[l], fwd.trace[l].residuals, fwd.trace[l].output
        if not fwd.net.at(fwd.params, l):
            return layer.adjoint({}, residuals, delta)
        p0 = self.config.baseline
        held = fwd.net.at(fwd.state.aux | fwd.state.memory, l)
        y = held.get("burst", fwd.net.at(fwd.params, l)["weight"])
        q = held.get("event", p0 * y)
        bursts = layer.adjoint({"weight": y}, residuals, p0 * (e - delta))
        return bursts - layer.adjoint({"weight": q}, residuals, e)

    def _burst_deviation(self, potential: Tensor, e: Tensor) -> Tensor:
        """(b_l - p0 e_l) / p0, from 2 sigmoid(2 x) - 1 = tanh(x)."""
        x = potential * (1 - e) / self.config.baseline
        return e * (torch.tanh(x) if self.config.burst_curve == "sigmoid" else x)
