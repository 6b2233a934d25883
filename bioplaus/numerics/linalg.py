"""Linear algebra that is safe on stacks of matrices.

`torch.linalg.solve` on a stack fails on the CPU with two or more threads (wrong
pivots, errors or a hang from n about 150; pytorch issue 142815). The operator here
solves one matrix at a time there, all at once on an accelerator, and marks a
singular matrix with NaN instead of raising, so one replica cannot stop the others.

Where the columns of a matrix are nearly orthogonal, as GAIT-prop's regulariser keeps
them, W^-1 is nearly D^-1 W^T with D = diag(W^T W), which costs nothing to form. A few
steps of iterative refinement make up the rest, and no n^3 work is left.
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


def solve_rows(matrix: Tensor, rows: Tensor) -> Tensor:
    """`solve` for the rows of a batch: each row y of the result has matrix @ y = row.

    matrix (n, n), rows (N, n) -> (N, n).
    """
    return solve(matrix, rows.T).T


REFINEMENTS = 3
REFINED_TO = 1e-4
"""Relative error of a refined solution, estimated from its last two corrections."""


def solve_rows_refined(
    matrix: Tensor, rows: Tensor, gram: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`solve_rows` from near orthogonality, and the result's estimated relative error, ().

    gram: matrix^T matrix, where it is at hand.

    A row starts as V row, V = D^-1 W^T, and is refined REFINEMENTS times, each time by the
    factor ||I - V W||. On the CPU a system whose error stays above REFINED_TO, or whose
    numbers are float64, is solved by LU instead, and its error is 0. On an accelerator
    that would need the host's attention: the error is returned as it stands.
    """
    if matrix.dtype == torch.float64:
        return solve_rows(matrix, rows), matrix.new_zeros(())
    y, error = _refine(matrix, rows, gram)
    if matrix.device.type == "cpu":
        y, error = _resolve_lost(matrix, rows, y, error)
    return y, error


def _refine(matrix: Tensor, rows: Tensor, gram: Tensor | None) -> tuple[Tensor, Tensor]:
    """Jacobi's iteration on the normal equations W^T W y = W^T row."""
    # not the Gram matrix's diagonal: compiled, every use would gather it anew
    scale = matrix.square().sum(0).reciprocal()
    target = rows @ matrix
    y = target * scale
    corrections: list[Tensor] = []
    for _ in range(REFINEMENTS):
        product = (y @ matrix.T) @ matrix if gram is None else y @ gram
        corrections.append((target - product) * scale)
        y = y + corrections[-1]
    # corrections fall geometrically: the next one is what is still missing
    last, before, size = (_squared(t) for t in (corrections[-1], corrections[-2], y))
    return y, last / (before * size).sqrt().clamp_min(torch.finfo(y.dtype).tiny)


def _squared(rows: Tensor) -> Tensor:
    """Squared norm; along the rows first, which vectorises better for stacks when compiled."""
    return rows.square().sum(-1).sum()


def diagonal(matrix: Tensor) -> Tensor:
    """A square matrix's diagonal, copied: compiled, each use of a view would gather it anew."""
    result: Tensor = _diagonal(matrix)
    return result


@torch.library.custom_op("bioplaus::diagonal", mutates_args=())
def _diagonal(matrix: Tensor) -> Tensor:
    return torch.diagonal(matrix, 0, -2, -1).clone(memory_format=torch.contiguous_format)


@_diagonal.register_fake
def _(matrix: Tensor) -> Tensor:
    return matrix.new_empty(matrix.shape[:-1])


def _diagonal_vmap(info: Any, in_dims: tuple[int], matrix: Tensor) -> tuple[Tensor, int]:
    return _diagonal(_stacked(info.batch_size, matrix, in_dims[0])), 0


_diagonal.register_vmap(_diagonal_vmap)


@torch.library.custom_op("bioplaus::resolve_lost", mutates_args=())
def _resolve_lost(matrix: Tensor, rows: Tensor, y: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """y and its error, solved anew by LU where that error is too large; the CPU may look."""
    y, error = y.clone(), error.clone()
    lost = ~(error <= REFINED_TO)  # NaN is lost too
    if lost.any():
        y[lost] = _solve(matrix[lost], rows[lost].mT).mT
        error[lost] = 0.0
    return y, error


@_resolve_lost.register_fake
def _(matrix: Tensor, rows: Tensor, y: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(y), torch.empty_like(error)


def _resolve_lost_vmap(
    info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    pairs = zip(tensors, in_dims, strict=True)
    return _resolve_lost(*(_stacked(info.batch_size, t, dim) for t, dim in pairs)), (0, 0)


_resolve_lost.register_vmap(_resolve_lost_vmap)


@_solve.register_fake
def _(matrix: Tensor, rhs: Tensor) -> Tensor:
    return torch.empty(rhs.shape, dtype=rhs.dtype, device=rhs.device)


def _solve_vmap(
    info: Any, in_dims: tuple[int | None, int | None], matrix: Tensor, rhs: Tensor
) -> tuple[Tensor, int]:
    both = (matrix, in_dims[0]), (rhs, in_dims[1])
    return _solve(*(_stacked(info.batch_size, tensor, dim) for tensor, dim in both)), 0


def _stacked(count: int, tensor: Tensor, dim: int | None) -> Tensor:
    """The replicas on the first axis."""
    return tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


_solve.register_vmap(_solve_vmap)
