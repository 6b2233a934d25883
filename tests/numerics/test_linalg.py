"""The solver: right on stacks and threads, and one singular matrix harms no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from bioplaus.numerics.linalg import solve
from bioplaus.numerics.random_streams import Stream

SEEDS = range(10)


def matrices(seed: int, *shape: int) -> Tensor:
    """Well-conditioned ones: a random matrix of norm about 2, plus 3 times the identity."""
    noise = Stream(seed).at("matrix").normal(shape) / shape[-1] ** 0.5
    return noise + 3 * torch.eye(shape[-1], dtype=torch.float64)


def right_sides(seed: int, *shape: int) -> Tensor:
    return Stream(seed).at("rhs").normal(shape)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-13) -> bool:
    return bool((a - b).norm() <= tolerance * b.norm())


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("columns", [1, 3, 20])
@pytest.mark.parametrize("n", [1, 2, 12])
def test_solves_one_system(n: int, columns: int, seed: int) -> None:
    a, b = matrices(seed, n, n), right_sides(seed, n, columns)
    x = solve(a, b)
    assert x.shape == b.shape
    assert close(a @ x, b)
    assert close(x, torch.linalg.inv(a) @ b)


@pytest.mark.parametrize("seed", SEEDS)
def test_takes_transposed_views(seed: int) -> None:
    a, b = matrices(seed, 8, 8), right_sides(seed, 5, 8)
    assert close(a.T @ solve(a.T, b.T), b.T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keeps_the_precision(dtype: torch.dtype) -> None:
    assert solve(matrices(0, 4, 4).to(dtype), right_sides(0, 4, 2).to(dtype)).dtype == dtype


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("in_dims", [(0, 0), (0, None), (None, 0), (2, 1), (-1, None)])
def test_vmap_over_either_or_both_is_one_at_a_time(
    in_dims: tuple[int | None, int | None], seed: int
) -> None:
    a, b = matrices(seed, 4, 6, 6), right_sides(seed, 4, 6, 3)
    given = [
        t[0] if dim is None else t.movedim(0, dim) for t, dim in zip((a, b), in_dims, strict=True)
    ]
    together = torch.vmap(solve, in_dims=in_dims)(*given)
    assert together.shape == (4, 6, 3)
    for i in range(4):
        one_a, one_b = (t[0 if dim is None else i] for t, dim in zip((a, b), in_dims, strict=True))
        assert torch.equal(together[i], solve(one_a, one_b))
        assert close(one_a @ together[i], one_b)


@pytest.mark.parametrize("seed", SEEDS)
def test_vmap_of_vmap(seed: int) -> None:
    a, b = matrices(seed, 2, 3, 6, 6), right_sides(seed, 2, 3, 6, 4)
    x = torch.vmap(torch.vmap(solve))(a, b)
    assert close(a @ x, b)


def test_a_stack_of_large_matrices_is_right_on_two_threads(two_threads: None) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(5, 784, 784, generator=generator, dtype=torch.float64) / 28
    a = noise + 3 * torch.eye(784, dtype=torch.float64)
    b = torch.randn(5, 784, 60, generator=generator, dtype=torch.float64)
    x = torch.vmap(solve)(a, b)
    for one_a, one_b, one_x in zip(a, b, x, strict=True):
        assert close(one_a @ one_x, one_b)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_singular_matrix_gives_nan_for_itself_alone(seed: int) -> None:
    a, b = matrices(seed, 3, 6, 6), right_sides(seed, 3, 6, 2)
    a[1] = 0
    x = torch.vmap(solve)(a, b)
    assert x[1].isnan().all()
    for i in (0, 2):
        assert torch.equal(x[i], solve(a[i], b[i]))
    assert solve(a[1], b[1]).isnan().all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_matrix_with_nan_harms_only_itself(seed: int) -> None:
    a, b = matrices(seed, 3, 6, 6), right_sides(seed, 3, 6, 2)
    a[1, 2, 3] = torch.nan
    x = torch.vmap(solve)(a, b)
    assert not x[1].isfinite().all()
    for i in (0, 2):
        assert torch.equal(x[i], solve(a[i], b[i]))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_trace_replays_on_other_systems(seed: int) -> None:
    def shifted(a: Tensor, b: Tensor) -> Tensor:
        return torch.vmap(lambda m, r: solve(m + 1, 2 * r))(a, b)

    traced = make_fx(shifted)(matrices(seed, 3, 6, 6), right_sides(seed, 3, 6, 2))
    a, b = matrices(seed + 100, 3, 6, 6), right_sides(seed + 100, 3, 6, 2)
    assert torch.equal(traced(a, b), shifted(a, b))
    assert close((a + 1) @ traced(a, b), 2 * b)


def test_inputs_stay_as_they_are() -> None:
    a, b = matrices(0, 3, 6, 6), right_sides(0, 3, 6, 2)
    before = a.clone(), b.clone()
    torch.vmap(solve)(a, b)
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])
