"""Solving by refinement from near orthogonality, and when that is to be trusted.

Where the columns of a matrix are nearly orthogonal, as GAIT-prop's regulariser keeps
them, W^-1 is nearly D^-1 W^T with D = diag(W^T W), which costs nothing to form. A few
steps of iterative refinement make up the rest, and no n^3 work is left.

Whether they do is known only afterwards. On the CPU the operator looks, and solves by LU
what is left. On an accelerator looking would make the host wait, so LU solves everything
there, unless the caller says how often to refine, looks at the error itself, and takes the
result back where it is too large.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bioplaus.numerics.linalg import solve_rows, solve_stacked, stacked
from bioplaus.numerics.operators import operator

REFINEMENTS = 3
"""The fewest, and enough while ||I - D^-1 W^T W|| is below a tenth."""
MORE_REFINEMENTS = 12
"""Enough up to about a half; with products that are no larger than the batch, still cheap."""
REFINED_TO = 1e-4
"""Relative error of a refined solution, estimated from its last two corrections."""
ROUNDED_TO = 1e-3
"""The same where products round their factors to 10 bits (TF32)."""
_IN_FULL = 2
"""The last refinements, whose residuals are formed from W itself where products round."""


class Refined(NamedTuple):
    """Solutions of several systems with one matrix."""

    rows: Tensor
    error: Tensor
    """Estimated relative error, (); 0 where LU has solved it."""
    early: Tensor
    """The same after REFINEMENTS refinements, whatever came after them."""


def refined_to(matrix: Tensor) -> float:
    """The relative error within which a refined solution is to be, by the precision in use."""
    return ROUNDED_TO if products_round(matrix) else REFINED_TO


def operator_looks(matrix: Tensor) -> bool:
    """Whether an operator may look at its tensors without making the host wait."""
    return matrix.device.type == "cpu"


def products_round(matrix: Tensor) -> bool:
    """Whether products of such matrices round their factors (TF32)."""
    rounds = matrix.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32
    return rounds and matrix.dtype == torch.float32


def solve_rows_refined(
    matrix: Tensor, rows: Tensor, gram: Tensor | None = None, refinements: int | None = None
) -> Refined:
    """`linalg.solve_rows` from near orthogonality: W y = row for each row.

    matrix (n, n), rows (N, n). gram: matrix^T matrix, where it is at hand. refinements: how
    many on an accelerator, by a caller who looks at the error; 0 for LU, whose `early` error
    says whether refinement would do again; None for an answer that is right in any case.

    A row starts as V row, V = D^-1 W^T, and is refined, each time by the factor ||I - V W||.
    On the CPU a system whose error stays above REFINED_TO is solved by LU instead, and so is
    everything in float64.
    """
    none = matrix.new_zeros(())
    if matrix.dtype == torch.float64 or (refinements is None and not operator_looks(matrix)):
        return Refined(solve_rows(matrix, rows), none, none)
    if operator_looks(matrix):
        y, error = refine(matrix, rows, gram, REFINEMENTS)
        y, found = _resolve_lost(matrix, rows, y, error)
        return Refined(y, found, error)
    if not refinements:
        early = refine(matrix, rows, gram, REFINEMENTS)[1]
        return Refined(solve_rows(matrix, rows), none, early)
    y, error = refine(matrix, rows, gram, refinements)
    early = error if refinements == REFINEMENTS else refine(matrix, rows, gram, REFINEMENTS)[1]
    return Refined(y, error, early)


def refine(
    matrix: Tensor, rows: Tensor, gram: Tensor | None, refinements: int
) -> tuple[Tensor, Tensor]:
    """Jacobi's iteration on the normal equations W^T W y = W^T row, and its estimated error."""
    # not the Gram matrix's diagonal: compiled, every use would gather it anew
    scale = matrix.square().sum(0).reciprocal()
    target = rows @ matrix
    in_full = _IN_FULL if products_round(matrix) else 0
    y = target * scale
    corrections: list[Tensor] = []
    for number in range(refinements):
        if number >= refinements - in_full:
            missing = product_in_full(rows - product_in_full(y, matrix.T), matrix)
        else:
            missing = target - ((y @ matrix.T) @ matrix if gram is None else y @ gram)
        corrections.append(missing * scale)
        y = y + corrections[-1]
    # corrections fall geometrically: the next one is what is still missing
    last, before, size = (_squared(t) for t in (corrections[-1], corrections[-2], y))
    return y, last / (before * size).sqrt().clamp_min(torch.finfo(y.dtype).tiny)


def _squared(rows: Tensor) -> Tensor:
    """Squared norm; along the rows first, which vectorises better for stacks when compiled."""
    return rows.square().sum(-1).sum()


def product_in_full(a: Tensor, b: Tensor) -> Tensor:
    """a @ b of matrices in their own precision, wherever products round otherwise."""
    result: Tensor = _product_in_full(a, b)
    return result


@operator("bioplaus::product_in_full")
def _product_in_full(a: Tensor, b: Tensor) -> Tensor:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        return a @ b
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@_product_in_full.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty((*a.shape[:-1], b.shape[-1]))


def _product_vmap(
    info: Any, in_dims: tuple[int | None, int | None], a: Tensor, b: Tensor
) -> tuple[Tensor, int]:
    pairs = zip((a, b), in_dims, strict=True)
    return _product_in_full(*(stacked(info.batch_size, t, dim) for t, dim in pairs)), 0


_product_in_full.register_vmap(_product_vmap)


@operator("bioplaus::resolve_lost")
def _resolve_lost(matrix: Tensor, rows: Tensor, y: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """y and its error, solved anew by LU where that error is too large; the CPU may look."""
    y, error = y.clone(), error.clone()
    lost = ~(error <= REFINED_TO)  # NaN is lost too
    if lost.any():
        y[lost] = solve_stacked(matrix[lost], rows[lost].mT).mT
        error[lost] = 0.0
    return y, error


@_resolve_lost.register_fake
def _(matrix: Tensor, rows: Tensor, y: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(y), torch.empty_like(error)


def _resolve_lost_vmap(
    info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    pairs = zip(tensors, in_dims, strict=True)
    return _resolve_lost(*(stacked(info.batch_size, t, dim) for t, dim in pairs)), (0, 0)


_resolve_lost.register_vmap(_resolve_lost_vmap)
