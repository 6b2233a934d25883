"""Learned inverses of target propagation, and the losses that they learn by.

    output    g_l(v) = f_{l-1}(V_l v + c_l)    reconstruction (Meulemans et al. 2020)
    input     g_l(v) = V_l f_l(v) + c_l        local difference reconstruction (Ernoult et al.
                                               2022, their code's `invert_sequential`)

Where the activation is on the input, g_l's Jacobian is V_l diag(f_l'(v)), which has the form
of the layer's transpose, W_l^T diag(f_l'(a_l)): where f_l keeps signs and is linear on either
side of 0, the two are equal at V_l = W_l^T.

Both losses hold the layer F_l(h) = f(W_l h + b_l): no gradient reaches W_l. On a layer
that reads only some of the units below, they concern the units read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor

from bioplaus.learning.layered_rule import ForwardPass
from bioplaus.network.activations import Identity
from bioplaus.network.layer import Layer, LayerTrace, Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .inverses import Inverse, initial_inverses

Form = Literal["output", "input"]
"""Where g_l has its activation."""


def reverse_layer(net: Network, l: int, form: Form) -> Layer:
    """The layer that holds V_l and c_l, with the activation on g_l's output, if it is there."""
    return net.layers[l].reverse(net.layers[l - 1].activation if form == "output" else Identity())


def apply_inverse(net: Network, l: int, form: Form, inverse: Params, v: Tensor) -> LayerTrace:
    """g_l(v), and what V_l's gradient needs of it."""
    reads = v if form == "output" else net.layers[l].activation(v)
    return reverse_layer(net, l, form).trace(inverse, reads)


def initial_inverse(net: Network, stream: Stream) -> Params:
    """V_l and c_l at the start, for every layer above the first."""
    stored_like = (reverse_layer(net, l, "input") for l in range(1, net.depth))
    return initial_inverses(net, stored_like, stream)


def learned_inverse(fwd: ForwardPass, form: Form) -> Inverse:
    """g_l; units that layer l does not read keep their h."""

    def inverse(l: int, v: Tensor) -> Tensor:
        part = apply_inverse(fwd.net, l, form, fwd.net.at(fwd.state.aux, l), v).output
        return fwd.net.layers[l].write(fwd.trace[l].input, part)

    return inverse


def reconstruction_grad(fwd: ForwardPass, l: int, sigma: float) -> Params:
    """Gradient of 1/2 <||g_l(F_l(xi)) - xi||^2>, xi = h_{l-1} + sigma noise, at V_l and c_l."""
    xi = fwd.trace[l].input + sigma * fwd.noise[str(l + 1)]
    above = fwd.net.step(fwd.params, l, xi).output
    back = apply_inverse(fwd.net, l, "output", fwd.net.at(fwd.state.aux, l), above)
    residual = back.output - fwd.net.layers[l].read(xi)
    return reverse_layer(fwd.net, l, "output").weight_grad(back.residuals, back.slope * residual)


def l_drl_grad(fwd: ForwardPass, l: int, inverse: Params, dx: Tensor, dy: Tensor) -> Params:
    """Gradient of the local difference reconstruction loss (Ernoult et al. 2022) at V_l and c_l.

    -2 <dx . (g(F(h + dx)) - g(F(h)))> + <||g(F(h) + dy) - g(F(h))||^2>, with h = h_{l-1}.
    For small isotropic dx and dy of equal variance the Jacobian of g becomes F's transpose.
    c_l cancels: its gradient is 0.
    """
    net, h, above = fwd.net, fwd.trace[l].input, fwd.trace[l].output
    moved = net.step(fwd.params, l, h + dx).output
    back = apply_inverse(net, l, "input", inverse, torch.cat([moved, above, above + dy]))
    _, rest, lifted = back.output.chunk(3)
    push, pull = -2 * net.layers[l].read(dx), 2 * (lifted - rest)
    # weight_grad is the mean over the three thirds together
    grads = reverse_layer(net, l, "input").weight_grad(
        back.residuals, 3 * torch.cat([push, -push - pull, pull])
    )
    # a sum of its parts would leave rounding where they cancel
    return grads | {"bias": torch.zeros_like(inverse["bias"])}


def descent(
    start: Params,
    gradient: Callable[[Params, Tensor, Tensor], Params],
    noise: Iterable[tuple[Tensor, Tensor]],
    lr: float,
) -> Params:
    """The gradients' sum over steps of gradient descent, one for each pair of noises.

    One step of plain gradient descent with the same lr along the sum ends where they end.
    """
    total = {name: torch.zeros_like(tensor) for name, tensor in start.items()}
    for dx, dy in noise:
        here = {name: tensor - lr * total[name] for name, tensor in start.items()}
        step = gradient(here, dx, dy)
        total = {name: tensor + step[name] for name, tensor in total.items()}
    return total
