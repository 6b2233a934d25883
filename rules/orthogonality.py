"""The soft orthogonality regulariser of GAIT-prop (Ahmad et al. 2020; Dalm et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from bioplaus.network.layer import Params
from bioplaus.network.network import Network
from bioplaus.numerics.linalg import diagonal

OrthoForm = Literal["offdiag", "identity"]


def gram_matrices(net: Network, params: Params) -> dict[int, Tensor]:
    """W^T W of every layer with weights, by the layer's number from 0."""
    weights = ((l, layer.matrix(net.at(params, l))) for l, layer in enumerate(net.layers))
    return {l: w.T @ w for l, w in weights if w is not None}


def is_present(strength: float | Tensor) -> bool:
    """Whether there is a regulariser: always, where each replica has a strength of its own."""
    return isinstance(strength, Tensor) or strength > 0


def orthogonality_grad(
    net: Network,
    params: Params,
    strength: float | Tensor,
    form: OrthoForm,
    grams: Mapping[int, Tensor] | None = None,
) -> Params:
    """Gradient of the penalty on every layer's weight matrix W; {} where strength is 0.

    offdiag: strength * sum_{i != j} (W^T W)_{ij}^2, the authors' code: columns become
    orthogonal, their norms are free. Gradient 4 strength W offdiag(W^T W).
    identity: strength * ||W W^T - I||_F^2 (Dalm et al. 2021). Gradient
    4 strength (W W^T - I) W.
    grams: the `gram_matrices`, for offdiag, where they are at hand.
    """
    if not is_present(strength):
        return {}
    parts: list[Params] = []
    for l, layer in enumerate(net.layers):
        p = net.at(params, l)
        w = layer.matrix(p)
        if w is None:
            parts.append({})
            continue
        scaled = 4 * strength * w
        if form == "offdiag":
            gram = grams[l] if grams is not None else w.T @ w
            grad = torch.addmm(scaled * diagonal(gram), scaled, gram, beta=-1)
        else:
            grad = torch.addmm(scaled, w @ w.T, scaled, beta=-1)
        parts.append({"weight": grad.reshape(p["weight"].shape)})
    return net.join(parts)
