"""The relaxing network of equilibrium propagation: its states, its dynamics, its gradients.

The layers form stages: one with weights and those without that follow it, which act on
its pre-activation, so that Phi = sum_k s_k . P_k(W_k s_{k-1} + b_k) with a stage's pooling
P_k, and s_k is held after it. Layers without weights at the start act on the input. Every
stage has a state, but for a linear readout at the top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bioplaus.network.activations import Identity
from bioplaus.network.layer import Params, Residuals
from bioplaus.network.network import Network

States = list[Tensor]
"""s_1 .. s_K of the stages that have one, each (N, *shape at the end of the stage)."""


class Stage(NamedTuple):
    """Layers, by index from 0, of which one has weights."""

    layers: range
    weighted: int


class Drive(NamedTuple):
    """What a stage makes of the states below it."""

    input: Tensor
    """Of the layer with weights."""
    total: Tensor
    """The pooled pre-activation, dPhi/ds_k without feedback."""
    residuals: dict[int, Residuals]


class Nudge(NamedTuple):
    """A pull of strength beta on the output, towards y."""

    beta: Tensor | float
    y: Tensor


class Phase(NamedTuple):
    """Where a nudged phase ended."""

    nudge: Nudge
    states: States


def stages(net: Network) -> list[Stage]:
    """All of them, the readout's too."""
    weighted = [l for l, layer in enumerate(net.layers) if layer.multiply_adds() > 0]
    bounds = [0, *weighted[1:], net.depth]
    return [
        Stage(range(first, end), l)
        for first, end, l in zip(bounds, bounds[1:], weighted, strict=False)
    ]


def relaxing_stages(net: Network) -> list[Stage]:
    """Those with a state."""
    found = stages(net)
    readout = found and isinstance(net.layers[found[-1].weighted].activation, Identity)
    return found[:-1] if readout else found


@dataclass(frozen=True)
class Circuit:
    """One network with its input held at x, (N, *in_shape)."""

    net: Network
    params: Params
    feedback: Params
    """What states come down through: the weights, or others shaped like them."""
    x: Tensor
    order: Literal["synchronous", "even-odd"]

    def rest(self) -> States:
        """All states zero, where the free phase starts."""
        shapes = [self.net.layers[s.layers[-1]].out_shape for s in relaxing_stages(self.net)]
        return [self.x.new_zeros((self.x.shape[0], *shape)) for shape in shapes]

    def ascend(self, states: States) -> tuple[list[Drive], Tensor]:
        """Each stage's drive, and the output: the last state, or the readout of it."""
        drives, h = [], self.x
        for k, stage in enumerate(stages(self.net)):
            residuals: dict[int, Residuals] = {}
            below = h
            for l in stage.layers:
                below = h if l == stage.weighted else below
                h, residuals[l] = self.net.layers[l].forward(self.net.at(self.params, l), h)
            drives.append(Drive(below, h, residuals))
            h = states[k] if k < len(states) else h
        return drives, h

    def output(self, states: States) -> Tensor:
        """What the network answers, (N, n_L)."""
        return self.ascend(states)[1]

    def unpool(self, stage: Stage, drive: Drive, s: Tensor) -> Tensor:
        """s, at the end of a stage, carried to the pre-activation of its weights."""
        for l in reversed(range(stage.weighted + 1, stage.layers.stop)):
            s = self.net.layers[l].adjoint({}, drive.residuals[l], s)
        return s

    def goals(self, states: States, nudge: Nudge | None = None) -> States:
        """sigma(dPhi/ds_k - beta dC/ds_k): where each state goes next."""
        drives, output = self.ascend(states)
        push: Tensor | None = None
        if nudge is not None:
            push = -nudge.beta * self.net.loss.error(output, nudge.y)
        goals: States = []
        for k, stage in reversed(list(enumerate(stages(self.net)))):
            drive, l = drives[k], stage.weighted
            if k < len(states):
                total = drive.total if push is None else drive.total + push
                goals.append(self.net.layers[l].activation(total))
                push = states[k]
            if push is not None and k > 0:
                post, weights = self.unpool(stage, drive, push), self.net.at(self.feedback, l)
                push = self.net.layers[l].adjoint(weights, drive.residuals[l], post)
        return goals[::-1]

    def relax(self, states: States, steps: int, nudge: Nudge | None = None) -> States:
        """The states after so many steps, in each of which every state moves once."""
        for _ in range(steps):
            if self.order == "synchronous":
                states = self.goals(states, nudge)
                continue
            for parity in (0, 1):
                pairs = zip(self.goals(states, nudge), states, strict=True)
                states = [goal if k % 2 == parity else s for k, (goal, s) in enumerate(pairs)]
        return states

    def residual(self, states: States) -> Tensor:
        """The largest distance of a state from where it goes next without a nudge."""
        pairs = zip(self.goals(states), states, strict=True)
        return torch.stack([(goal - s).abs().amax() for goal, s in pairs]).amax()

    def contrast(self, plus: Phase, minus: Phase) -> Params:
        """-(dF+ - dF-) / (beta+ - beta-), F = Phi - beta C: the gradients of all parameters."""
        ends = self._energy_grads(plus), self._energy_grads(minus)
        scale = 1 / (plus.nudge.beta - minus.nudge.beta)
        return {name: scale * (ends[1][name] - ends[0][name]) for name in ends[0]}

    def contrast_each_way(self, plus: Phase, minus: Phase) -> tuple[Params, Params]:
        """The weights' gradients in a vector field, for W_k and for B_k stored like it.

        -<(s_k^+ - s_k^-) m_{k-1}^T> / (beta+ - beta-) and, with m = (s+ + s-) / 2,
        -<m_k (s_{k-1}^+ - s_{k-1}^-)^T> / (beta+ - beta-); they sum to `contrast`.
        """
        up: Params = {}
        down: Params = {}
        scale = 1 / (plus.nudge.beta - minus.nudge.beta)
        ends = [(phase.states, self.ascend(phase.states)[0]) for phase in (plus, minus)]
        for k, stage in enumerate(relaxing_stages(self.net)):
            name, l = f"{stage.weighted + 1}.weight", stage.weighted
            layer, p = self.net.layers[l], self.net.at(self.params, l)
            post = [self.unpool(stage, drives[k], states[k]) for states, drives in ends]
            pre = [drives[k].input for _, drives in ends]
            _, mean = layer.forward(p, (pre[0] + pre[1]) / 2)
            _, change = layer.forward(p, pre[0] - pre[1])
            up[name] = -scale * layer.weight_grad(mean, post[0] - post[1])["weight"]
            down[name] = -scale * layer.weight_grad(change, (post[0] + post[1]) / 2)["weight"]
        return up, down

    def _energy_grads(self, phase: Phase) -> Params:
        """d(Phi - beta C) / d theta, averaged over the batch, at the end of a phase."""
        drives, output = self.ascend(phase.states)
        top = -phase.nudge.beta * self.net.loss.error(output, phase.nudge.y)
        grads: Params = {}
        for stage, drive, s in zip(stages(self.net), drives, [*phase.states, top], strict=False):
            l, post = stage.weighted, self.unpool(stage, drive, s)
            part = self.net.layers[l].weight_grad(drive.residuals[l], post)
            grads |= self.net.join([part], first=l)
        return grads
