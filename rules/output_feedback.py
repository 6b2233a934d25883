"""Feedback weights from the output to every layer below the last with weights, "l.feedback".

Each is (n_l, n_L), of a layer's flattened units.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.func import vmap

from bioplaus.network.layer import Init, Params
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream

from .feedback import feedback_alignment
from .perturbation import weighted_layers


def random_output_feedback(net: Network, stream: Stream) -> Params:
    """Normal, of the variance 2 / (n_l + n_L)."""
    outputs, init = net.layers[-1].out_shape[0], Init("xavier_normal")
    return {
        f"{l + 1}.feedback": init.weight(
            stream.at("feedback", l + 1), math.prod(net.layers[l].out_shape), outputs
        )
        for l in weighted_layers(net)[:-1]
    }


def products(net: Network, params: Params) -> Params:
    """(W_L ... W_{l+1})^T. Pooling is as at the input 0."""
    trace = net.forward(params, next(iter(params.values())).new_zeros((1, *net.in_shape)))
    outputs = net.layers[-1].out_shape[0]
    error = torch.eye(outputs, dtype=trace[-1].output.dtype, device=trace[-1].output.device)
    found: Params = {}
    for l in reversed(range(net.depth)):
        if l in weighted_layers(net)[:-1]:
            found[f"{l + 1}.feedback"] = error.flatten(1).T.contiguous()
        carry = partial(net.layers[l].adjoint, net.at(params, l), trace[l].residuals)
        error = vmap(carry)(error[:, None])[:, 0]
    return {f"{l + 1}.feedback": found[f"{l + 1}.feedback"] for l in weighted_layers(net)[:-1]}


def product_alignment(net: Network, params: Params, feedback: Params) -> dict[str, Tensor]:
    """`feedback_alignment` with `products` in the place of the weights above."""
    return feedback_alignment(products(net, params), feedback)
