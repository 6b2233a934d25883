"""The backward sweep that backprop, feedback alignment and GAIT-prop share.

d_l = D_l * e_l from the top down, by `Layer.pull`; the rules differ in how e_{l-1} is had from
d_l.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.network.layer import Params
from bioplaus.network.recurrent import Recurrent

Transport = Callable[[int, Tensor], Tensor]
"""(l, d_l) -> e_{l-1}: carries the error below layer l, counted from 0."""


def backward_sweep(fwd: ForwardPass, transport: Transport, down_to: int = 0) -> list[Tensor]:
    """d_1 .. d_L, each (N, n_l); only from the layer `down_to` up, counted from 0."""
    deltas = []
    error = fwd.error
    lowest = max(down_to, fwd.net.bottom)
    for l in reversed(range(lowest, fwd.net.depth)):
        delta = fwd.net.layers[l].pull(fwd.trace[l], error)
        deltas.append(delta)
        if l > lowest:
            error = transport(l, delta)
    unreached = [torch.zeros_like(step.slope) for step in fwd.trace[down_to:lowest]]
    return [*unreached, *deltas[::-1]]


def rewired(fwd: ForwardPass, weights: Params) -> ForwardPass:
    """The pass for a sweep in which errors go along time, too, through feedback weights:
    those in the place of a layer's recurrent ones. Weight gradients are of the pass itself."""
    trace = tuple(
        layer.rewired(step, fwd.net.at(weights, l)) if isinstance(layer, Recurrent) else step
        for l, (layer, step) in enumerate(zip(fwd.net.layers, fwd.trace, strict=True))
    )
    return fwd._replace(trace=trace)


def adjoint_transport(fwd: ForwardPass, weights: Params) -> Transport:
    """e_{l-1} = W_l^T d_l; feedback weights in place of the network's make it B_l d_l."""

    def transport(l: int, delta: Tensor) -> Tensor:
        return fwd.net.layers[l].adjoint(fwd.net.at(weights, l), fwd.trace[l].residuals, delta)

    return transport
