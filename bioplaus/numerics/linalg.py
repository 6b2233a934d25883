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

from bioplaus.numerics.operators import operator


def solve(matrix: Tensor, rhs: Tensor) -> Tensor:
    """X with matrix @ X = rhs, for one network or, under vmap, for each replica.

    matrix (n, n), rhs (n, k) -> (n, k); NaN where the matrix is exactly singular.
    """
    result: Tensor = _solve(matrix, rhs)
    return result


@operator("bioplaus::solve")
def _solve(matrix: Tensor, rhs: Tensor) -> Tensor:
    """Batched over any leading dimensions."""
    if matrix.device.type != "cpu" or matrix.dim() == 2:
        return _solve_or_nan(matrix, rhs)
    flat = zip(matrix.flatten(0, -3), rhs.flatten(0, -3), strict=True)
    return torch.stack([_solve_or_nan(a, b) for a, b in flat]).reshape(rhs.shape)


def _solve_or_nan(matrix: Tensor, rhs: Tensor) -> Tensor:
    solution, info = torch.linalg.solve_ex(matrix, rhs)
    return torch.where((info == 0)[..., None, None], solution, torch.nan).contiguous()


def solve_stacked(matrix: Tensor, rhs: Tensor) -> Tensor:
    """`solve` for matrices (..., n, n) and rhs (..., n, k)."""
    result: Tensor = _solve(matrix, rhs)
    return result


def solve_rows(matrix: Tensor, rows: Tensor) -> Tensor:
    """`solve` for the rows of a batch: each row y of the result has matrix @ y = row.

    matrix (n, n), rows (N, n) -> (N, n).
    """
    return solve(matrix, rows.T).T


def diagonal(matrix: Tensor) -> Tensor:
    """A square matrix's diagonal, copied: compiled, each use of a view would gather it anew."""
    result: Tensor = _diagonal(matrix)
    return result


@operator("bioplaus::diagonal")
def _diagonal(matrix: Tensor) -> Tensor:
    return torch.diagonal(matrix, 0, -2, -1).clone(memory_format=torch.contiguous_format)


@_diagonal.register_fake
def _(matrix: Tensor) -> Tensor:
    return matrix.new_empty(matrix.shape[:-1])


def _diagonal_vmap(info: Any, in_dims: tuple[int], matrix: Tensor) -> tuple[Tensor, int]:
    return _diagonal(stacked(info.batch_size, matrix, in_dims[0])), 0


_diagonal.register_vmap(_diagonal_vmap)


@_solve.register_fake
def _(matrix: Tensor, rhs: Tensor) -> Tensor:
    return torch.empty(rhs.shape, dtype=rhs.dtype, device=rhs.device)


def _solve_vmap(
    info: Any, in_dims: tuple[int | None, int | None], matrix: Tensor, rhs: Tensor
) -> tuple[Tensor, int]:
    both = (matrix, in_dims[0]), (rhs, in_dims[1])
    return _solve(*(stacked(info.batch_size, tensor, dim) for tensor, dim in both)), 0


def stacked(count: int, tensor: Tensor, dim: int | None) -> Tensor:
    """The replicas on the first axis."""
    return tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


_solve.register_vmap(_solve_vmap)
