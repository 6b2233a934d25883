"""The soft orthogonality regulariser of GAIT-prop (Ahmad et al. 2020; Dalm et al. 2021)."""

from __future__ import annotations

from typing import Literal

import torch

from bioplaus.layers import Params
from bioplaus.network import Network

OrthoForm = Literal["offdiag", "identity"]


def orthogonality_grad(net: Network, params: Params, strength: float, form: OrthoForm) -> Params:
    """Gradient of the penalty on every layer's weight matrix W; {} where strength is 0.

    offdiag: strength * sum_{i != j} (W^T W)_{ij}^2, the authors' code: columns become
    orthogonal, their norms are free. Gradient 4 strength W offdiag(W^T W).
    identity: strength * ||W W^T - I||_F^2 (Dalm et al. 2021). Gradient
    4 strength (W W^T - I) W.
    """
    if strength == 0:
        return {}
    parts: list[Params] = []
    for l, layer in enumerate(net.layers):
        p = net.at(params, l)
        w = layer.matrix(p)
        if w is None:
            parts.append({})
            continue
        gram = w.T @ w if form == "offdiag" else w @ w.T
        diagonal = torch.diagonal(gram) if form == "offdiag" else torch.ones_like(gram[0])
        excess = gram - torch.diag(diagonal)
        grad = 4 * strength * (w @ excess if form == "offdiag" else excess @ w)
        parts.append({"weight": grad.reshape(p["weight"].shape)})
    return net.join(parts)
