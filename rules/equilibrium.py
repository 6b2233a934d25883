"""The relaxing network of equilibrium propagation: its states, its dynamics, its gradients.

The layers form stages: one with weights and those without that follow it, which act on
its pre-activation, so that Phi = sum_k s_k . P_k(W_k s_{k-1} + b_k) with a stage's pooling
P_k, and s_k is held after it. Layers without weights at the start act on the input. Every
stage has a state, but for a linear readout at the top.

With backward weights B_k there is no such Phi, but two: s_k . P(W_k s_{k-1} + b_k), whose
slope at s_k is what goes up, and s_k . P(B_k s_{k-1}), whose slope at s_{k-1} is what comes
down. Each pools where its own weights say.
"""

from __future__ import annotations

from collections.abc import Callable
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

    def backward(self, stage: Stage, drive: Drive) -> tuple[Params, Drive]:
        """The weights that states come down through, and the drive that these make."""
        weights, own = (self.net.at(p, stage.weighted) for p in (self.params, self.feedback))
        if own["weight"] is weights["weight"]:
            return weights, drive
        # no bias: a channel's is one number in all of a window, and does not choose in it
        biases = {name: torch.zeros_like(t) for name, t in own.items() if name != "weight"}
        own, residuals = {"weight": own["weight"], **biases}, dict(drive.residuals)
        h = drive.input
        for l in range(stage.weighted, stage.layers.stop):
            h, residuals[l] = self.net.layers[l].forward(own if l == stage.weighted else {}, h)
        return own, Drive(drive.input, h, residuals)

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
                weights, down = self.backward(stage, drive)
                post = self.unpool(stage, down, push)
                push = self.net.layers[l].adjoint(weights, down.residuals[l], post)
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
        """How far the free phase stopped from rest: 0 there, some 1 where states go on as far.

        ||s - s'|| / max(||s||, ||s'||) over all states and the batch, s' being where they go
        next without a nudge.
        """
        goals = self.goals(states)
        apart = [goal - s for goal, s in zip(goals, states, strict=True)]
        here, there, distance = (
            torch.stack([v.square().sum() for v in vs]).sum().sqrt()
            for vs in (states, goals, apart)
        )
        return distance / torch.maximum(here, there).clamp_min(torch.finfo(here.dtype).tiny)

    def contrast(self, plus: Phase, minus: Phase) -> Params:
        """-(dF+ - dF-) / (beta+ - beta-), F = Phi - beta C: the gradients of all parameters."""
        return _contrast(plus, minus, self._energy_grads)

    def contrast_back(self, plus: Phase, minus: Phase) -> Params:
        """As `contrast`, of the primitive that comes down: the gradients of B_k, k > 1."""
        return _contrast(plus, minus, lambda phase: self._backward_grads(phase.states))

    def contrast_each_way(self, free: States, plus: Phase, minus: Phase) -> tuple[Params, Params]:
        """The weights' gradients in a vector field, for W_k and for B_k stored like it.

        With pooling left out, -<(s_k^+ - s_k^-) s_{k-1}^{*T}> / (beta+ - beta-) and
        -<s_k^* (s_{k-1}^+ - s_{k-1}^-)^T> / (beta+ - beta-): what one end of a synapse
        does differently, times the other end as it was free.
        """
        drives, _ = self.ascend(free)

        def going_up(phase: Phase) -> Params:
            parts = zip(relaxing_stages(self.net), drives, phase.states, strict=False)
            grads: Params = {}
            for stage, drive, s in parts:
                grads |= self._weight_grad(stage, drive, self.unpool(stage, drive, s))
            return grads

        up = _contrast(plus, minus, going_up)
        return up, _contrast(plus, minus, lambda phase: self._backward_grads(phase.states, free))

    def _backward_grads(self, below: States, above: States | None = None) -> Params:
        """d<s_k . P(B_k s_{k-1})> / dB_k, k > 1; s_k may be of another phase than s_{k-1}."""
        grads: Params = {}
        drives, tops = self.ascend(below)[0], above or below
        for stage, drive, s in list(zip(relaxing_stages(self.net), drives, tops, strict=False))[1:]:
            _, down = self.backward(stage, drive)
            grads |= self._weight_grad(stage, down, self.unpool(stage, down, s))
        return grads

    def _weight_grad(self, stage: Stage, drive: Drive, post: Tensor) -> Params:
        part = self.net.layers[stage.weighted].weight_grad(drive.residuals[stage.weighted], post)
        return self.net.join([{"weight": part["weight"]}], first=stage.weighted)

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


def _contrast(plus: Phase, minus: Phase, slope: Callable[[Phase], Params]) -> Params:
    ends, scale = (slope(plus), slope(minus)), 1 / (plus.nudge.beta - minus.nudge.beta)
    return {name: scale * (ends[1][name] - ends[0][name]) for name in ends[0]}
