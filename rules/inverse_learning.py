"""Learned inverses of target propagation, g_l(v) = f_{l-1}(V_l v + c_l), and their losses.

Both losses hold the layer F_l(h) = f(W_l h + b_l): no gradient reaches W_l. On a layer
that reads only some of the units below, they concern the units read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from bioplaus.learning.rule import ForwardPass
from bioplaus.network.layer import Layer, Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .inverses import Inverse, initial_inverses


def reverse_layer(net: Network, l: int) -> Layer:
    """The layer that computes g_l, with the activation of the layer it reconstructs."""
    return net.layers[l].reverse(net.layers[l - 1].activation)


def initial_inverse(net: Network, stream: Stream) -> Params:
    """V_l and c_l at the start, for every layer above the first."""
    return initial_inverses(net, (reverse_layer(net, l) for l in range(1, net.depth)), stream)


def learned_inverse(fwd: ForwardPass) -> Inverse:
    """g_l(v) = f_{l-1}(V_l v + c_l); units that layer l does not read keep their h."""

    def inverse(l: int, v: Tensor) -> Tensor:
        part = reverse_layer(fwd.net, l).trace(fwd.net.at(fwd.state.aux, l), v).output
        return fwd.net.layers[l].write(fwd.trace[l].input, part)

    return inverse


def reconstruction_grad(fwd: ForwardPass, l: int, sigma: float) -> Params:
    """Gradient of 1/2 <||g_l(F_l(xi)) - xi||^2>, xi = h_{l-1} + sigma noise, at V_l and c_l."""
    reverse = reverse_layer(fwd.net, l)
    xi = fwd.trace[l].input + sigma * fwd.noise[str(l + 1)]
    above = fwd.net.step(fwd.params, l, xi).output
    back = reverse.trace(fwd.net.at(fwd.state.aux, l), above)
    residual = back.output - fwd.net.layers[l].read(xi)
    return reverse.weight_grad(back.residuals, back.slope * residual)


def l_drl_grad(fwd: ForwardPass, l: int, inverse: Params, dx: Tensor, dy: Tensor) -> Params:
    """Gradient of the local difference reconstruction loss (Ernoult et al. 2022) at V_l and c_l.

    -2 <dx . (g(F(h + dx)) - g(F(h)))> + <||g(F(h) + dy) - g(F(h))||^2>, with h = h_{l-1}.
    For small isotropic dx and dy of equal variance the Jacobian of g becomes F's transpose.
    """
    net, h, above = fwd.net, fwd.trace[l].input, fwd.trace[l].output
    layer, reverse = net.layers[l], reverse_layer(net, l)
    moved = net.step(fwd.params, l, h + dx).output
    back = reverse.trace(inverse, torch.cat([moved, above, above + dy]))
    _, rest, lifted = back.output.chunk(3)
    push, pull = -2 * layer.read(dx), 2 * (lifted - rest)
    # weight_grad is the mean over the three thirds together
    return reverse.weight_grad(
        back.residuals, 3 * back.slope * torch.cat([push, -push - pull, pull])
    )


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
