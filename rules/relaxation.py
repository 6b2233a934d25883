"""The relaxation that the predictive-coding family shares.

There is one node, v_1 .. v_K, for each layer with weights and those without that follow it
(pooling and Flatten are no nodes: the authors' codes keep them inside a block); a nested
`nn.Sequential` of one's own model is one node too. The top one is clamped; in each sweep
the others move towards where the rule wants them:

    v_k <- (1 - eta) v_k + eta target_k(v),    k = K-1 .. 1

all from the values before the sweep (Jacobi), or each from the values that the sweep
has already given the nodes above it (top-down, Gauss-Seidel). Rules differ in what a
node holds, where it starts, and what pulls it; with one layer to a node:

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

from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.learning.profile import Plausibility
from bioplaus.learning.rule import State
from bioplaus.learning.sweep import Transport, adjoint_transport
from bioplaus.network.layer import Init, Params
from bioplaus.network.network import Network, Trace
from bioplaus.numerics.random_streams import Stream

from .feedback import random_feedback

Order = Literal["jacobi", "top-down"]
Nodes = Sequence[Tensor]
"""v_1 .. v_K, each (N, *out_shape of its last layer); the last may be the targets (N, C)."""
Target = Callable[[int, Nodes], Tensor]
"""(k, v) -> where node k, counted from 0, is pulled by the others."""
Backward = Literal["transpose", "fixed", "learned"]


def sweep(nodes: Nodes, target: Target, step_size: float, order: Order = "jacobi") -> list[Tensor]:
    """All nodes but the clamped last one, moved once."""
    moved = list(nodes)
    for k in reversed(range(len(nodes) - 1)):
        goal = target(k, moved if order == "top-down" else nodes)
        # lerp returns the goal itself at a step size of 1, and stays where it is at rest
        moved[k] = torch.lerp(nodes[k], goal, step_size)
    return moved


def relax(nodes: Nodes, target: Target, steps: int, step_size: float, order: Order) -> list[Tensor]:
    """`steps` sweeps with one target."""
    for _ in range(steps):
        nodes = sweep(nodes, target, step_size, order)
    return list(nodes)


def residual(errors: Sequence[Tensor], transport: Transport) -> Tensor:
    """How far from rest: 0 there, 1 where the errors are nothing of what they come to be.

    ||q - q'|| / max(||q||, ||q'||) over the free nodes and the batch, where q'_k is the error
    that q_{k+1} brings down to node k; a scalar, 0 where both are 0.
    """
    free = list(errors[:-1])
    due = [transport(k, error) for k, error in enumerate(errors[1:], start=1)]
    here, there, apart = (
        sum((v.square().sum() for v in vs), errors[-1].new_zeros(())).sqrt()
        for vs in (free, due, [q - e for q, e in zip(free, due, strict=True)])
    )
    larger = torch.maximum(here, there)
    return torch.where(larger > 0, apart / torch.where(larger > 0, larger, 1), 0)


def outputs(net: Network, trace: Trace) -> list[Tensor]:
    """h at the end of every node."""
    return [trace[layers[-1]].output for layers in net.node_layers()]


def node_transport(
    fwd: ForwardPass, trace: Trace, weights: Params, derivative: bool = True
) -> Transport:
    """(k, error at the end of node k) -> the error at its input, k from 0.

    W_l^T (D_l e) through the node's layers, with the trace's slopes or without them; feedback
    weights may stand in the place of W.
    """
    carry, nodes = adjoint_transport(fwd._replace(trace=trace), weights), fwd.net.node_layers()

    def transport(k: int, error: Tensor) -> Tensor:
        for l in reversed(nodes[k]):
            error = carry(l, trace[l].slope * error if derivative else error)
        return error

    return transport


def frozen_target(transport: Transport) -> Target:
    """What the node above brings down, predictions and slopes being the forward pass's."""
    return lambda k, nodes: transport(k + 1, nodes[k + 1])


def predictions(fwd: ForwardPass, nodes: Nodes) -> Trace:
    """Each layer's prediction, each node's from the activity below it: x, mu_1 .. mu_{K-1}."""
    trace = []
    for layers, h in zip(fwd.net.node_layers(), (fwd.batch.x, *nodes[:-1]), strict=True):
        for l in layers:
            trace.append(fwd.net.step(fwd.params, l, h))
            h = trace[-1].output
    return tuple(trace)


def prediction_errors(fwd: ForwardPass, trace: Trace, nodes: Nodes) -> list[Tensor]:
    """q_1 .. q_K, prediction minus activity; at the top, the gradient of the loss."""
    *hidden, top = outputs(fwd.net, trace)
    free = [prediction - v for prediction, v in zip(hidden, nodes, strict=False)]
    return [*free, fwd.net.loss.error(top, fwd.batch.y)]


def energy_target(fwd: ForwardPass, trace: Trace) -> Target:
    """Where dE/dmu_k vanishes, the other activities and the predictions held.

    E = sum_{k<K} 1/2 ||mu_k - prediction_k||^2 + loss(prediction_K, y).
    """
    transport = node_transport(fwd, trace, fwd.params)
    predicted = outputs(fwd.net, trace)
    top = fwd.net.loss.error(predicted[-1], fwd.batch.y)

    def target(k: int, nodes: Nodes) -> Tensor:
        above = top if k + 2 == len(nodes) else predicted[k + 1] - nodes[k + 1]
        return predicted[k] - transport(k + 1, above)

    return target


def hidden_energy(errors: Sequence[Tensor]) -> Tensor:
    """sum_{l<L} 1/2 ||q_l||^2, mean over the batch."""
    squares = [0.5 * q.square().flatten(1).sum(1) for q in errors[:-1]]
    return sum(squares, errors[-1].new_zeros(())).mean()


def node_deltas(
    fwd: ForwardPass, trace: Trace, errors: Sequence[Tensor], weights: Params
) -> list[Tensor]:
    """d_l = D_l e_l of every layer, e at the end of a node being its error.

    Within a node of several layers errors come down as in backprop, through these weights.
    """
    carry, deltas = adjoint_transport(fwd._replace(trace=trace), weights), []
    for layers, error in zip(fwd.net.node_layers(), errors, strict=True):
        node: list[Tensor] = []
        for l in reversed(layers):
            node.append(trace[l].slope * error)
            if l > layers.start:
                error = carry(l, node[-1])
        deltas += node[::-1]
    return deltas


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
