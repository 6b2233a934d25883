"""What a layer of one's own must do: its algebra is that of its own forward pass."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import vjp, vmap

from bioplaus.network.layer import Init, Layer, Params
from bioplaus.numerics.random_streams import Stream
from bioplaus.testing.comparing import EXACT, identical, rel
from bioplaus.testing.failures import explained, require

BATCH = 5
_NAMED = "return one gradient for each parameter, of its name and shape"


def check_layer(layer: Layer) -> None:
    """Try a layer's algebra in float64: `adjoint` and `weight_grad` against autograd, vmap.

    For layers whose pre-activation is linear in what they read. Raises Failure, with a hint.
    """
    require(
        isinstance(layer, Layer),
        f"{layer!r} is no bioplaus.network.layer.Layer",
        "give a layer as it is built: check_layer(MyKind().build((8,)))",
    )
    title = f"the layer {layer.kind!r}"
    with explained(title, type(layer)):
        _check(layer, title)


def _check(layer: Layer, title: str) -> None:
    start = layer.init(Stream(0), Init())
    for name, tensor in start.items():
        require(
            tensor.dtype == torch.float64 and not tensor.is_cuda,
            f"{title}: `init` draws {name} as {tensor.dtype} on {tensor.device}",
            "draw from the stream that is given: float64 on the CPU",
        )
    require(
        identical(start, layer.init(Stream(0), Init())),
        f"{title}: `init` draws other parameters from the same stream",
        "draw from the stream that is given, and from nothing else",
    )
    params, other = (_moved(start, seed) for seed in (0, 1))  # from ones, say, and zeros
    x = Stream(2).normal((BATCH, *layer.in_shape))
    a, residuals = layer.forward(params, x)
    due = (BATCH, *layer.out_shape)
    require(
        tuple(a.shape) == due,
        f"{title}: `forward` gives the shape {tuple(a.shape)}, and `out_shape` says {due}",
        "a batch comes first; `out_shape` is that of one example",
    )
    d = Stream(3).normal(due)
    _check_adjoint(layer, title, params, x, d)
    _check_weight_grad(layer, title, params, x, d)
    # feedback alignment is backprop with another argument to `adjoint`
    back = vjp(lambda h: layer.forward(other, h)[0], x)[1](d)[0]
    require(
        rel(layer.adjoint(other, residuals, d), back) <= EXACT,
        f"{title}: `adjoint` does not carry errors by the weights that it is given",
        "use the parameters that are given to `adjoint`, and keep none in `residuals`",
    )


def _moved(start: Params, seed: int) -> Params:
    return {n: t + Stream(seed).at("moved", n).normal(tuple(t.shape)) for n, t in start.items()}


def _check_adjoint(layer: Layer, title: str, params: Params, x: Tensor, d: Tensor) -> None:
    _, residuals = layer.forward(params, x)
    true = vjp(lambda h: layer.forward(params, h)[0], x)[1](d)[0]
    require(
        rel(layer.adjoint(params, residuals, d), true) <= EXACT,
        f"{title}: `adjoint` is not the transpose of `forward`",
        "W^T d for each example: compare with torch.func.vjp of `forward`",
    )
    together = {name: torch.stack([p, 2 * p]) for name, p in params.items()}

    def one(own: Params) -> Tensor:
        return layer.adjoint(own, layer.forward(own, x)[1], d)

    if together:
        first = vmap(one)(together)[0]
        require(
            rel(first, true) <= EXACT,
            f"{title}: under vmap a replica's `adjoint` is another",
            "use torch's operations on the tensors that are given, without loops over the batch",
        )


def _check_weight_grad(layer: Layer, title: str, params: Params, x: Tensor, d: Tensor) -> None:
    _, residuals = layer.forward(params, x)
    given = layer.weight_grad(residuals, d)
    require(
        {n: tuple(t.shape) for n, t in given.items()}
        == {n: tuple(t.shape) for n, t in params.items()},
        f"{title}: `weight_grad` gives {', '.join(given) or 'nothing'}, due is "
        f"{', '.join(params) or 'nothing'}",
        _NAMED,
    )
    true = vjp(lambda p: layer.forward(p, x)[0], params)[1](d / len(x))[0]
    for name, grad in given.items():
        require(
            rel(grad, true[name]) <= EXACT,
            f"{title}: `weight_grad` of {name} is not the gradient of `forward`",
            "the mean over the batch of d h^T, and of d for a bias",
        )
