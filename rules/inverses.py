"""The inverses that bring targets down: exact ones, and GAIT-prop's learned affine ones.

g_l(v) = V_l (f^{-1}(v) - c_l) maps an activity of layer l to the one below that explains
it. Exactly, V_l = W_l^{-1} and c_l = b_l. Learned, V_l is kept transposed, shaped like
W_l, so that V_l d is the layer's `adjoint` with V_l^T for feedback weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.learning.sweep import Transport
from bioplaus.network.layer import Init, Layer, Params, Solver
from bioplaus.network.network import Network
from bioplaus.numerics.linalg import solve_rows
from bioplaus.numerics.random_streams import Stream

Inverse = Callable[[int, Tensor], Tensor]
"""(l, v) -> g_l(v): the activity below layer l, counted from 0, that explains v."""


def why_not_invertible(net: Network, learned: bool = False) -> str | None:
    """None where targets can be inverted down to layer 1's output; layer 1 is never inverted.

    learned: by an affine inverse that learns, for which weights need not be square.
    """
    for l, layer in enumerate(net.layers[1:], start=2):
        reason = layer.why_not_reversible() if learned else layer.why_not_invertible()
        if reason is None and not layer.activation.invertible:
            reason = f"its activation {layer.activation} has no inverse"
        if reason:
            return f"it inverts every layer above the first, and layer {l} cannot be: {reason}"
    return None


def why_targets_leave_range(net: Network) -> str | None:
    """None where every target that is inverted, above layer 1, has an inverse under f."""
    for l, layer in enumerate(net.layers[1:], start=2):
        if layer.activation.bounded:
            return (
                f"layer {l}: a target may leave the range of {layer.activation}, where it has no "
                "inverse"
            )
    return None


def exact_transport(
    fwd: ForwardPass, solver: Callable[[int], Solver] = lambda l: solve_rows
) -> Transport:
    """W_l^{-1} d; zero on units that layer l does not read. solver: of each layer, from 0."""

    def transport(l: int, d: Tensor) -> Tensor:
        p, residuals = fwd.net.at(fwd.params, l), fwd.trace[l].residuals
        return fwd.net.layers[l].solve(p, residuals, d, solver(l))

    return transport


def exact_inverse(fwd: ForwardPass) -> Inverse:
    """g_l(v) = W_l^{-1} (f^{-1}(v) - b_l); units that layer l does not read keep their h."""

    def inverse(l: int, v: Tensor) -> Tensor:
        layer = fwd.net.layers[l]
        a = layer.activation.inverse(v)
        return layer.preimage(fwd.net.at(fwd.params, l), fwd.trace[l].residuals, a)

    return inverse


def initial_inverses(net: Network, stored_like: Iterable[Layer], stream: Stream) -> Params:
    """Weights of variance 2 / (fan_in + fan_out) and biases of 0, for layers 2 .. L.

    stored_like: the layers whose parameters they are shaped like, in order.
    """
    init = Init("xavier_normal")
    layers = enumerate(stored_like, start=2)
    return net.join((layer.init(stream.at("inverse", l), init) for l, layer in layers), first=1)


def affine_inverse(fwd: ForwardPass) -> Inverse:
    """g_l(v) = V_l (f^{-1}(v) - c_l); units that layer l does not read keep their h."""

    def inverse(l: int, v: Tensor) -> Tensor:
        layer, step, learned = fwd.net.layers[l], fwd.trace[l], fwd.net.at(fwd.state.aux, l)
        drive = _less_bias(fwd, l, layer.activation.inverse(v))
        below = layer.adjoint(learned, step.residuals, drive)
        return layer.write(step.input, layer.read(below))

    return inverse


def affine_inverse_grad(fwd: ForwardPass, l: int) -> Params:
    """Gradient of 1/2 <||r||^2>, r = g_l(h_l) - h_{l-1}, at V_l^T and c_l.

    gV_l = <r (f^{-1}(h_l) - c_l)^T>, gc_l = -<V_l^T r>; zero at the exact inverse.
    """
    layer, step, learned = fwd.net.layers[l], fwd.trace[l], fwd.net.at(fwd.state.aux, l)
    drive = _less_bias(fwd, l, step.preactivation)  # f^{-1}(h_l) is a_l
    r = layer.adjoint(learned, step.residuals, drive) - step.input
    # as an input of the layer: what it does not read of r, it leaves out here too
    unbiased = {n: torch.zeros_like(t) if n == "bias" else t for n, t in learned.items()}
    image, residuals = layer.forward(unbiased, r)
    grads = layer.weight_grad(residuals, drive)
    if "bias" in learned:
        grads["bias"] = -layer.weight_grad(residuals, image)["bias"]
    return grads


def _less_bias(fwd: ForwardPass, l: int, a: Tensor) -> Tensor:
    """a - c_l; c_l has a layer's one value for each unit, or for each channel."""
    c = fwd.net.at(fwd.state.aux, l).get("bias")
    return a if c is None else a - c.reshape(-1, *(1 for _ in a.shape[2:]))
