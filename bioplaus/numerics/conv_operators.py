"""Convolution, its adjoint and its weight gradient, batched over replicas.

`vmap` turns a convolution with weights of its own per replica into a grouped one, which
the CPU does slowly: there the operators here go through the replicas one by one, and on
an accelerator they are batched by torch. All three are bilinear, and each is the
derivative of the others, so that autograd may differentiate them any number of times,
inside or outside vmap.

Kernels are (channels out, channels in, k, k), square, with one stride and one zero
padding for both axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

LOOPED_ON = frozenset({"cpu"})
"""Kinds of device on which replicas are taken one by one."""

_conv2d_weight: Callable[..., Tensor] = conv2d_weight


def conv(h: Tensor, w: Tensor, stride: int, padding: int) -> Tensor:
    """W h: the cross-correlation of h (N, C, H, W) with w (K, C, k, k), (N, K, H', W')."""
    result: Tensor = _Conv.apply(h, w, stride, padding)
    return result


def conv_adjoint(d: Tensor, w: Tensor, stride: int, padding: int, size: tuple[int, int]) -> Tensor:
    """W^T d: the transposed convolution of d (N, K, H', W') onto an input of that size."""
    result: Tensor = _Adjoint.apply(d, w, stride, padding, *size)
    return result


def conv_weight_grad(h: Tensor, d: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """The sum of d h^T over examples and places: the gradient of <d, W h> at w."""
    result: Tensor = _WeightGrad.apply(h, d, kernel, stride, padding)
    return result


class _Replicated(torch.autograd.Function):
    """An operator on two tensors and a static geometry, with a vmap rule of its own."""

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        if args[0].device.type not in LOOPED_ON:
            batched: Tensor = torch.vmap(cls.forward, in_dims)(*args)
            return batched, 0
        paired = list(zip(args, in_dims, strict=True))
        replicas: list[Tensor] = [
            cls.apply(*(a if dim is None else a.select(dim, r) for a, dim in paired))
            for r in range(info.batch_size)
        ]
        # one replica alone is spared the copy
        return torch.stack(replicas) if len(replicas) > 1 else replicas[0][None], 0

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.geometry = inputs[2:]


class _Conv(_Replicated):
    @staticmethod
    def forward(h: Tensor, w: Tensor, stride: int, padding: int) -> Tensor:
        return F.conv2d(h, w, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        h, w = ctx.saved_tensors
        stride, padding = ctx.geometry
        size = (h.shape[-2], h.shape[-1])
        return (
            conv_adjoint(d, w, stride, padding, size) if ctx.needs_input_grad[0] else None,
            conv_weight_grad(h, d, w.shape[-1], stride, padding),
            *[None] * 2,
        )


class _Adjoint(_Replicated):
    @staticmethod
    def forward(d: Tensor, w: Tensor, stride: int, padding: int, height: int, width: int) -> Tensor:
        # what is left of the input behind the last window gets no error
        left = [(n + 2 * padding - w.shape[-1]) % stride for n in (height, width)]
        return F.conv_transpose2d(d, w, None, stride, padding, left)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        d, w = ctx.saved_tensors
        stride, padding, *_ = ctx.geometry
        return (
            conv(g, w, stride, padding),
            conv_weight_grad(g, d, w.shape[-1], stride, padding),
            *[None] * 4,
        )


class _WeightGrad(_Replicated):
    @staticmethod
    def forward(h: Tensor, d: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        shape = (d.shape[1], h.shape[1], kernel, kernel)
        return _conv2d_weight(h, shape, d, stride, padding)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        h, d = ctx.saved_tensors
        _, stride, padding = ctx.geometry
        size = (h.shape[-2], h.shape[-1])
        return (
            conv_adjoint(d, g, stride, padding, size),
            conv(h, g, stride, padding),
            *[None] * 3,
        )
