"""Solving from near orthogonality: as right as it says, and by LU where it does not suffice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from bioplaus.numerics.linalg import solve_rows
from bioplaus.numerics.random_streams import Stream
from bioplaus.numerics.refinement import REFINED_TO, refine, solve_rows_refined

SEEDS = range(10)


def columns(seed: int, n: int, off: float) -> Tensor:
    """Orthogonal columns of norms between 1/2 and 2, moved so that ||E||_2 is about 2 `off`."""
    stream = Stream(seed)
    noise = off * stream.at("noise").normal((n, n)) / (2 * n**0.5)
    scale = 0.5 * 4 ** stream.at("scale").uniform((n,))
    return (stream.at("q").orthogonal(n, n) + noise) * scale


def rows(seed: int, count: int, n: int) -> Tensor:
    return Stream(seed).at("rows").normal((count, n))


def relative(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.mark.parametrize("with_gram", [False, True])
@pytest.mark.parametrize("off", [0.0, 0.02, 0.1, 0.5, 3.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_float32_is_within_the_bound_however_far_from_orthogonal(
    seed: int, off: float, with_gram: bool
) -> None:
    a, d = columns(seed, 20, off), rows(seed, 7, 20)
    exact = torch.linalg.solve(a, d.T).T
    single = a.float()
    y, error, _ = solve_rows_refined(single, d.float(), single.T @ single if with_gram else None)
    assert error <= REFINED_TO
    # float32's own error is its eps times the condition number
    rounding = 1e-6 * float(torch.linalg.cond(a))
    assert relative(y, exact) <= 2 * REFINED_TO + rounding


@pytest.mark.parametrize("seed", SEEDS)
def test_one_refinement_less_is_a_factor_of_the_residual(seed: int) -> None:
    """Jacobi's iteration gains ||I - V W|| a step, V = D^-1 W^T."""
    a, d = columns(seed, 20, 0.05), rows(seed, 7, 20)
    exact = torch.linalg.solve(a, d.T).T
    gram = a.T @ a
    scaled = gram / torch.diagonal(gram).sqrt().outer(torch.diagonal(gram).sqrt())
    rho = float(torch.linalg.matrix_norm(scaled - torch.eye(20), 2))
    errors = []
    for refinements in (2, 3):
        errors.append(relative(refine(a, d, gram, refinements)[0], exact))
    assert errors[1] <= 1.5 * rho * errors[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_float64_is_solved_by_lu(seed: int) -> None:
    a, d = columns(seed, 12, 0.1), rows(seed, 5, 12)
    y, error, _ = solve_rows_refined(a, d)
    assert torch.equal(y, solve_rows(a, d))
    assert error == 0


def test_the_estimate_is_the_error() -> None:
    """Within a factor of three, where the error is well above float32's rounding."""
    for seed in SEEDS:
        a, d = columns(seed, 40, 0.25), rows(seed, 7, 40)
        y, estimate = refine(a, d, None, 3)
        error = relative(y, torch.linalg.solve(a, d.T).T)
        assert error / 3 <= float(estimate) <= 3 * error


def test_a_replica_that_is_lost_is_solved_alone() -> None:
    near, far = columns(0, 12, 0.02).float(), columns(1, 12, 4.0).float()
    d = rows(0, 5, 12).float()
    stacked = torch.stack([near, far, near]), torch.stack([d, d, 2 * d])
    y, error, _ = vmap(solve_rows_refined)(*stacked)
    assert error[1] == 0 and 0 < error[0] <= REFINED_TO
    # what rounding leaves of a solution, whichever way torch factorises one matrix or three
    exact = solve_rows(far.double(), d.double())
    rounding = torch.linalg.cond(far) * torch.finfo(torch.float32).eps
    assert (y[1] - exact).norm() <= rounding * exact.norm()
    alone, _, _ = solve_rows_refined(near, d)
    assert torch.allclose(y[0], alone, rtol=1e-5, atol=1e-6)
    assert torch.allclose(y[2], 2 * alone, rtol=1e-5, atol=1e-6)


def test_a_singular_matrix_is_nan_and_harms_no_other() -> None:
    near, d = columns(0, 6, 0.02).float(), rows(0, 3, 6).float()
    y, _, _ = vmap(solve_rows_refined)(torch.stack([near, 0 * near]), torch.stack([d, d]))
    assert y[0].isfinite().all()
    assert y[1].isnan().all()
