"""Layer-wise self-supervision: every hidden layer learns two views by itself, through its head.

Hidden layer l reads the layer below it and nothing else learns from it:

    h_l = f(W_l sg(h_{l-1}) + b_l),   z_l = H_l h_l,   eps_l = loss.error(z_l)
    gH_l = <eps_l h_l^T>,   d_l = D_l * (B_l eps_l),   gW_l = <d_l h_{l-1}^T>

sg: no error crosses. B_l is H_l^T, or random and fixed, or random and given H_l's own update, so
that H_l - B_l^T stays what it was. H_{L-1} is the network's last layer; the heads below it are
auxiliary, linear and without bias.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass, LayeredRule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import AuxOptimizer, NoiseSpec, Resting, RuleConfig, State
from bioplaus.learning.search_space import LEARNING_RATE, SearchSpace
from bioplaus.network.activations import Identity
from bioplaus.network.layer import Dense, Init, Layer, Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream


class LayerwiseSslConfig(RuleConfig):
    feedback: Literal["transpose", "fixed", "updated"] = Field(
        "transpose", description="B_l: the head's transpose, random, or random with its update"
    )
    feedback_gain: float = Field(
        1.0, gt=0, description="B_l is uniform with variance gain^2 2 / (fan_in + fan_out)"
    )
    schedule: str = Field(
        "all",
        pattern="^(all|greedy|random)$",
        description="all: every layer at each step; greedy: one after the other, from the bottom; "
        "random: one at each step",
    )
    steps_per_layer: int = Field(1000, ge=1, description="greedy only: until the next one's turn")


class Stage(NamedTuple):
    """What a hidden layer learned by, at one step."""

    error: Tensor
    """e_l at its output, shaped like it."""
    share: Tensor
    """1 where it is its turn, else 0."""
    grad: Tensor | None
    """Of its head; None for the last one's, which is the network's own."""


class LayerwiseSsl(LayeredRule[LayerwiseSslConfig]):
    """Layer-wise self-supervised learning: every layer tells views apart, no error in between.

    For tasks of two views, whose loss it takes at every layer. Where the first view is blocked
    it is a memory of the last one seen: nothing waits for two at once. Under the greedy schedule
    the other layers rest. Under the random one each seed has an order of its own, so that they
    have gradients of zero instead, which takes an optimizer without memory: under Adam a layer
    drifts on for some ten steps after its turn. It recommends plain SGD.

    The authors' code (C16Mftang/biological-SSL) sums over pairs where this takes the mean, pools
    images before a head where this flattens them, and trains for 100 to 400 epochs a layer. Its
    models never use its "updated" feedback.
    """

    name = "layerwise-ssl"
    version = 2
    needs = "views"
    Config = LayerwiseSslConfig
    citation = Citation(
        authors="Tang, Yang and Amit",
        title="Biologically plausible training mechanisms for self-supervised learning in deep "
        "networks",
        year=2022,
        venue="Frontiers in Computational Neuroscience 16",
        identifier="arXiv:2109.15089",
        equations="section 2; its code, loss.py and layers.py",
    )
    stackable = frozenset({"feedback_gain"})

    @property
    def search_space(self) -> SearchSpace:
        return {"optimizer.lr": LEARNING_RATE}

    @property
    def optimizer(self) -> OptimizerSpec | None:
        if self.config.schedule == "random":
            return OptimizerSpec(name="sgd", lr=1e-3)
        return None

    @property
    def aux_optimizer(self) -> AuxOptimizer:
        return "same"

    @property
    def plausibility(self) -> Plausibility:
        return Plausibility(
            weight_transport="transpose" if self.config.feedback == "transpose" else "none",
            phases="none: every layer has a loss of its own",
            update_locking=False,
            backward_locking=False,
            local=False,
            needs_derivative="local",
            signed_errors="yes",
            auxiliary="a linear head for every layer"
            + ("" if self.config.feedback == "transpose" else ", and its feedback weights"),
            note="a head compares the batch's examples with each other",
        )

    def supports(self, net: Network) -> str | None:
        if reason := super().supports(net):
            return reason
        if not _hidden(net):
            return "it has no hidden layer with weights below a last one with weights"
        if not isinstance(net.layers[-1].activation, Identity):
            return "its last layer is a head, and heads are linear"
        return None

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        return {"turn": NoiseSpec((), "uniform")} if self.config.schedule == "random" else {}

    def init_state(self, net: Network, params: Params, stream: Stream) -> State:
        aux: Params = {}
        fixed: Params = {}
        random = Init("xavier_uniform", self.config.feedback_gain)
        for l in _hidden(net):
            head, own = _head(net, l), stream.at("head", l + 1)
            if l != _hidden(net)[-1]:
                aux[f"head.{l + 1}"] = head.init(own.at("weight"), net.initial)["weight"]
            if self.config.feedback != "transpose":
                drawn = head.init(own.at("feedback"), random)["weight"]
                kept = aux if self.config.feedback == "updated" else fixed
                kept[f"feedback.{l + 1}"] = drawn
        if self.config.schedule == "greedy":
            fixed["step"] = torch.zeros((), dtype=torch.float64)
        return State(aux, fixed)

    def rests(self, net: Network, step: int) -> Resting:
        """Under the greedy schedule, all layers but one, with what learns beside them."""
        if self.config.schedule != "greedy":
            return Resting()
        hidden, top = _hidden(net), net.depth
        turn = hidden[min(step // self.config.steps_per_layer, len(hidden) - 1)]
        others = [l + 1 for l in hidden if l != turn]
        heads = [f"head.{l}" for l in others if l != hidden[-1] + 1]
        fed = [f"feedback.{l}" for l in others if self.config.feedback == "updated"]
        above = [top] if turn != hidden[-1] else []
        return Resting(frozenset(map(str, [*others, *above])), frozenset([*heads, *fed]))

    def shared(self, fwd: ForwardPass) -> dict[int, Stage]:
        """By hidden layer, from 0."""
        hidden = _hidden(fwd.net)
        return {l: self._stage(fwd, l, self._turn(fwd, k)) for k, l in enumerate(hidden)}

    def _turn(self, fwd: ForwardPass, k: int) -> Tensor:
        """1 where the k-th hidden layer learns at this step, else 0; a tensor ()."""
        last = len(_hidden(fwd.net)) - 1
        if self.config.schedule == "all":
            return fwd.error.new_ones(())
        if self.config.schedule == "greedy":
            due = (fwd.state.memory["step"] / self.config.steps_per_layer).floor()
        else:
            due = (fwd.noise["turn"] * (last + 1)).floor()
        return (due.clamp(max=last) == k).to(fwd.error)

    def _stage(self, fwd: ForwardPass, l: int, share: Tensor) -> Stage:
        net, top = fwd.net, fwd.net.depth - 1
        h = fwd.trace[l].output
        if l == _hidden(net)[-1]:
            weights = {**net.at(fwd.params, top), **self._feedback(fwd, l)}
            error = net.layers[top].adjoint(weights, fwd.trace[top].residuals, fwd.error)
            for between in reversed(range(l + 1, top)):  # flatten, pooling
                error = net.layers[between].adjoint({}, fwd.trace[between].residuals, error)
            return Stage(error, share, None)
        flat, weight = h.flatten(1), fwd.state.aux[f"head.{l + 1}"]
        eps = net.loss.error(flat @ weight.T, fwd.batch.y)
        back = self._feedback(fwd, l).get("weight", weight)
        return Stage((eps @ back).reshape(h.shape), share, eps.T @ flat / len(flat))

    def _feedback(self, fwd: ForwardPass, l: int) -> Params:
        """B_l^T as the weight of the layer's head; {} for the head's own."""
        name, state = f"feedback.{l + 1}", fwd.state
        kept = state.aux if self.config.feedback == "updated" else state.memory
        return {"weight": kept[name]} if name in kept else {}

    def deltas(self, fwd: ForwardPass) -> list[Tensor]:
        stages: dict[int, Stage] = fwd.shared
        hidden = [
            step.slope * stages[l].error * stages[l].share
            if l in stages
            else torch.zeros_like(step.slope)
            for l, step in enumerate(fwd.trace[:-1])
        ]
        share = stages[max(stages)].share
        return [*hidden, fwd.trace[-1].slope * fwd.error * share]

    def aux_grads(self, fwd: ForwardPass, deltas: list[Tensor], grads: Params) -> Params:
        stages: dict[int, Stage] = fwd.shared
        found: Params = {}
        for l, stage in stages.items():
            own = stage.grad
            grad = grads[f"{fwd.net.depth}.weight"] if own is None else own * stage.share
            found |= {f"head.{l + 1}": grad, f"feedback.{l + 1}": grad}
        return {name: found[name] for name in fwd.state.aux}

    def next_memory(self, fwd: ForwardPass) -> Params:
        memory = fwd.state.memory
        return memory | {"step": memory["step"] + 1} if "step" in memory else memory


def _hidden(net: Network) -> list[int]:
    """The layers with weights below a last one with weights, by number from 0."""
    weighted = [l for l, layer in enumerate(net.layers) if layer.multiply_adds() > 0]
    return weighted[:-1] if weighted and weighted[-1] == net.depth - 1 else []


def _head(net: Network, l: int) -> Layer:
    """What reads layer l: the network's last layer, or a linear one onto as many units."""
    if l == _hidden(net)[-1]:
        return net.layers[-1]
    return Dense(math.prod(net.layers[l].out_shape), net.layers[-1].out_shape[0], bias=False)
