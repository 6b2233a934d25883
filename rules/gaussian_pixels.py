"""What generative models of this kind share: pixels with a variance each, learned and bounded.

-log p(x) = sum (x - out)^2 / (2 s^2) + log s, up to a constant, with s = max(e^ls, least).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bioplaus.network.layer import Dense
from bioplaus.network.network import Network


def variance(log_sigma: Tensor, least: float) -> Tensor:
    """s^2 of each pixel, (M,)."""
    return (2 * log_sigma.clamp(min=math.log(least))).exp()


def log_sigma_grad(log_sigma: Tensor, least: float, square: Tensor) -> Tensor:
    """1 - <(x - out)^2> / s^2, (M,), from the mean square; at the floor only its way up."""
    grad = 1 - square / variance(log_sigma, least)
    return torch.where(log_sigma <= math.log(least), grad.clamp(max=0), grad)


def cost(x: Tensor, out: Tensor, sigma2: Tensor) -> Tensor:
    """-log p(x) up to a constant, (N,), for x and out (N, M)."""
    return ((x - out).square() / sigma2 + sigma2.log()).sum(1) / 2


def image_r2(x: Tensor, out: Tensor) -> Tensor:
    """1 - squared error / squares about the image's own mean, averaged over images, (N, M).

    Images of one grey have none, and are left out.
    """
    about_mean = (x - x.mean(1, keepdim=True)).square().sum(1)
    varied = about_mean > 1e-12 * x.square().sum(1)
    each = 1 - (x - out).square().sum(1) / about_mean.where(varied, 1.0)
    return each.where(varied, 0.0).sum() / varied.sum().clamp(min=1)


def why_not_generative(net: Network) -> str | None:
    """None where the last layer is dense and gives an example back from the layer below it."""
    top = net.layers[-1]
    if not isinstance(top, Dense) or top.reads != top.n_in or net.depth < 2:
        return "its generative model is a dense last layer above another layer"
    if math.prod(net.in_shape) != top.n_out:
        return "its last layer gives an example back, with as many units as that has numbers"
    return None
