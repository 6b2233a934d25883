"""The relaxation that the predictive-coding family shares.

There is one node for the output of every layer, v_1 .. v_L. The top one is clamped; in
each sweep the others move towards where the rule wants them:

    v_l <- (1 - eta) v_l + eta target_l(v),    l = L-1 .. 1

all from the values before the sweep (Jacobi), or each from the values that the sweep
has already given the nodes above it (top-down, Gauss-Seidel). Rules differ in what a
node holds, where it starts, and what pulls it:

    predictive coding        activity mu_l, from h_l      prediction_l - W_{l+1}^T (D_{l+1} q_{l+1})
    with fixed predictions   error q_l, from 0            W_{l+1}^T (D_{l+1} q_{l+1})
    activation relaxation    neuron x_l, from h_l or 0    W_{l+1}^T (D_{l+1} x_{l+1})

where q_l is prediction minus activity, and D_l the slope at the prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from bioplaus.learning.profile import Plausibility
from bioplaus.learning.rule import ForwardPass, State
from bioplaus.learning.sweep import Transport, adjoint_transport
from bioplaus.network.layer import Init, Params
from bioplaus.network.network import Network, Trace
from bioplaus.numerics.random_streams import Stream

from .feedback import random_feedback

Order = Literal["jacobi", "top-down"]
Nodes = Sequence[Tensor]
"""v_1 .. v_L, each (N, *out_shape of its layer); the last may be the targets (N, C)."""
Target = Callable[[int, Nodes], Tensor]
"""(l, v) -> where node l, counted from 0, is pulled by the others."""
Backward = Literal["transpose", "fixed", "learned"]


def sweep(nodes: Nodes, target: Target, step_size: float, order: Order = "jacobi") -> list[Tensor]:
    """All nodes but the clamped last one, moved once."""
    moved = list(nodes)
    for l in reversed(range(len(nodes) - 1)):
        goal = target(l, moved if order == "top-down" else nodes)
        # lerp returns the goal itself at a step size of 1, and stays where it is at rest
        moved[l] = torch.lerp(nodes[l], goal, step_size)
    return moved


def relax(nodes: Nodes, target: Target, steps: int, step_size: float, order: Order) -> list[Tensor]:
    """`steps` sweeps with one target."""
    for _ in range(steps):
        nodes = sweep(nodes, target, step_size, order)
    return list(nodes)


def residual(nodes: Nodes, target: Target) -> Tensor:
    """How far from rest: ||target(v) - v|| over the free nodes, rms over the batch; a scalar."""
    squares = [(target(l, nodes) - v).square().flatten(1).sum(1) for l, v in enumerate(nodes[:-1])]
    return sum(squares, nodes[-1].new_zeros(())).mean().sqrt()


def frozen_target(transport: Transport, trace: Trace, derivative: bool = True) -> Target:
    """W_{l+1}^T (D_{l+1} v_{l+1}) with the forward pass's slopes, or without them."""

    def target(l: int, nodes: Nodes) -> Tensor:
        above = nodes[l + 1]
        return transport(l + 1, trace[l + 1].slope * above if derivative else above)

    return target


def predictions(fwd: ForwardPass, nodes: Nodes) -> Trace:
    """Each layer's prediction from the activity below it: x, mu_1 .. mu_{L-1}."""
    below = (fwd.batch.x, *nodes[:-1])
    return tuple(fwd.net.step(fwd.params, l, mu) for l, mu in enumerate(below))


def prediction_error(fwd: ForwardPass, trace: Trace, nodes: Nodes, l: int) -> Tensor:
    """q_l, prediction minus activity; at the top, the gradient of the loss."""
    if l == fwd.net.depth - 1:
        return fwd.net.loss.error(trace[l].output, fwd.batch.y)
    return trace[l].output - nodes[l]


def energy_target(fwd: ForwardPass, trace: Trace) -> Target:
    """Where dE/dmu_l vanishes, the other activities and the predictions held.

    E = sum_{l<L} 1/2 ||mu_l - prediction_l||^2 + loss(prediction_L, y).
    """
    transport = adjoint_transport(fwd._replace(trace=trace), fwd.params)

    def target(l: int, nodes: Nodes) -> Tensor:
        above = trace[l + 1].slope * prediction_error(fwd, trace, nodes, l + 1)
        return trace[l].output - transport(l + 1, above)

    return target


def hidden_energy(errors: Sequence[Tensor]) -> Tensor:
    """sum_{l<L} 1/2 ||q_l||^2, mean over the batch."""
    squares = [0.5 * q.square().flatten(1).sum(1) for q in errors[:-1]]
    return sum(squares, errors[-1].new_zeros(())).mean()


def slopes_times(trace: Trace, errors: Sequence[Tensor]) -> list[Tensor]:
    """d_l = D_l e_l."""
    return [step.slope * e for step, e in zip(trace, errors, strict=True)]


def frozen_profile(steps: int, backward: Backward, derivative: bool) -> Plausibility:
    """Of a relaxation with the forward pass frozen; each rule is its difference from it."""
    own = backward != "transpose"
    return Plausibility(
        weight_transport="none" if own else "transpose",
        phases=f"relaxation of {steps} steps with a frozen forward pass",
        update_locking=True,
        backward_locking=False,
        local=True,
        needs_derivative="transport" if derivative else "local",
        signed_errors="error units",
        auxiliary="memory of the forward pass" + (", backward weights B" if own else ""),
    )


def backward_state(net: Network, stream: Stream, backward: Backward, gain: float) -> State:
    """B_2 .. B_L where the way back has weights of its own: in aux if they learn."""
    if backward == "transpose":
        return State({}, {})
    weights = random_feedback(net, stream, Init("xavier_normal", gain))
    return State(weights, {}) if backward == "learned" else State({}, weights)


def backward_weights(params: Params, state: State, backward: Backward) -> Params:
    """What stands for W on the way back."""
    return {"transpose": params, "fixed": state.memory, "learned": state.aux}[backward]
