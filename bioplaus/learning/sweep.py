"""The backward sweep that backprop, feedback alignment and GAIT-prop share.

d_l = D_l * e_l from the top down; the rules differ in how e_{l-1} is had from d_l.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.network.layer import Params

Transport = Callable[[int, Tensor], Tensor]
"""(l, d_l) -> e_{l-1}: carries the error below layer l, counted from 0."""


def backward_sweep(fwd: ForwardPass, transport: Transport) -> list[Tensor]:
    """d_1 .. d_L, each (N, n_l)."""
    deltas = []
    error = fwd.error
    for l in reversed(range(fwd.net.depth)):
        delta = fwd.trace[l].slope * error
        deltas.append(delta)
        if l > 0:
            error = transport(l, delta)
    return deltas[::-1]


def adjoint_transport(fwd: ForwardPass, weights: Params) -> Transport:
    """e_{l-1} = W_l^T d_l; feedback weights in place of the network's make it B_l d_l."""

    def transport(l: int, delta: Tensor) -> Tensor:
        return fwd.net.layers[l].adjoint(fwd.net.at(weights, l), fwd.trace[l].residuals, delta)

    return transport
