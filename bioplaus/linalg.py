"""Linear algebra that is safe on stacks of matrices.

`torch.linalg.solve` on a stack fails on the CPU with two or more threads (wrong
pivots, errors or a hang from n about 150; pytorch issue 142815). The operator here
solves one matrix at a time there, all at once on an accelerator, and marks a
singular matrix with NaN instead of raising, so one replica cannot stop the others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def solve(matrix: Tensor, rhs: Tensor) -> Tensor:
    """X with matrix @ X = rhs, for one network or, under vmap, for each replica.

    matrix (n, n), rhs (n, k) -> (n, k); NaN where the matrix is exactly singular.
    """
    result: Tensor = _solve(matrix, rhs)
    return result


@torch.library.custom_op("bioplaus::solve", mutates_args=())
def _solve(matrix: Tensor, rhs: Tensor) -> Tensor:
    """Batched over any leading dimensions."""
    if matrix.device.type != "cpu" or matrix.dim() == 2:
        return _solve_or_nan(matrix, rhs)
    flat = zip(matrix.flatten(0, -3), rhs.flatten(0, -3), strict=True)
    return torch.stack([_solve_or_nan(a, b) for a, b in flat]).reshape(rhs.shape)


def _solve_or_nan(matrix: Tensor, rhs: Tensor) -> Tensor:
    solution, info = torch.linalg.solve_ex(matrix, rhs)
    return torch.where((info == 0)[..., None, None], solution, torch.nan).contiguous()


@_solve.register_fake
def _(matrix: Tensor, rhs: Tensor) -> Tensor:
    return torch.empty(rhs.shape, dtype=rhs.dtype, device=rhs.device)


def _solve_vmap(
    info: Any, in_dims: tuple[int | None, int | None], matrix: Tensor, rhs: Tensor
) -> tuple[Tensor, int]:
    def stacked(tensor: Tensor, dim: int | None) -> Tensor:
        if dim is None:
            return tensor.expand(info.batch_size, *tensor.shape)
        return tensor.movedim(dim, 0)

    return _solve(stacked(matrix, in_dims[0]), stacked(rhs, in_dims[1])), 0


_solve.register_vmap(_solve_vmap)
