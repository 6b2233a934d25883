"""Random streams: the generator's published answers, distributions, and independence."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from bioplaus.numerics import random_streams as streams
from bioplaus.numerics.random_streams import (
    Stream,
    philox,
    random_normal,
    random_uniform,
    random_words,
)

SEEDS = range(10)
FULL = 0xFFFFFFFF
KNOWN_ANSWERS = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (FULL, FULL, FULL, FULL),
        (FULL, FULL),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
"""philox4x32 with 10 rounds, from the kat_vectors of the Random123 distribution."""


def python_philox(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """The same generator in Python's own integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & FULL, (p0 >> 32) ^ c3 ^ k1, p0 & FULL
        k0, k1 = (k0 + 0x9E3779B9) & FULL, (k1 + 0xBB67AE85) & FULL
    return c0, c1, c2, c3


def words(values: tuple[int, ...]) -> list[Tensor]:
    return [torch.tensor(value) for value in values]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers_of_random123(
    counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]
) -> None:
    c0, c1, c2, c3 = words(counter)
    k0, k1 = words(key)
    assert tuple(philox((c0, c1, c2, c3), (k0, k1)).tolist()) == answer
    assert python_philox(counter, key) == answer


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("position", [0, 1, 12345, 2**32 + 5, 2**40])
def test_words_are_those_of_counter_block_and_position(position: int, seed: int) -> None:
    key = Stream(seed).at("words").key
    expected: list[int] = []
    for block in range(3):
        counter = (block, 0, position & FULL, position >> 32)
        expected += python_philox(counter, tuple(key.tolist()))
    assert random_words(key, position, 10).tolist() == expected[:10]
    assert random_words(key, torch.tensor(position), 10).tolist() == expected[:10]


@pytest.mark.parametrize("seed", SEEDS)
def test_uniform_is_uniform(seed: int) -> None:
    numbers = Stream(seed).at("uniform").uniform((200, 500))
    assert numbers.dtype == torch.float64
    assert float(numbers.min()) > 0
    assert float(numbers.max()) < 1
    flat = numbers.flatten()
    count = flat.numel()
    assert abs(float(flat.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / count)
    # the variance of the sample variance is (mu_4 - sigma^4) / n = (1/80 - 1/144) / n
    assert abs(float(flat.var()) - 1 / 12) < 4 * math.sqrt((1 / 80 - 1 / 144) / count)
    assert stats.kstest(flat.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_normal_is_normal(seed: int) -> None:
    flat = Stream(seed).at("normal").normal((99_999,))
    count = flat.numel()
    assert flat.dtype == torch.float64
    assert abs(float(flat.mean())) < 4 / math.sqrt(count)
    assert abs(float(flat.var()) - 1) < 4 * math.sqrt(2 / count)
    assert stats.kstest(flat.numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_neighbours_and_halves_are_uncorrelated(seed: int) -> None:
    for numbers in (
        Stream(seed).at("x").normal((40_000,)),
        Stream(seed).at("x").uniform((40_000,)) - 0.5,
    ):
        z = numbers / numbers.std()
        for lag in (1, 2, 3, 4, 20_000):  # the two halves come from the same pairs
            correlation = float((z[lag:] * z[:-lag]).mean())
            assert abs(correlation) < 4.5 / math.sqrt(40_000 - lag)


@pytest.mark.parametrize("word", [0, FULL])
def test_extreme_words_stay_inside_the_open_interval(
    word: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def extreme(keys: Tensor, position: Tensor | int, count: int) -> Tensor:
        return torch.full((*keys.shape[:-1], count), word)

    monkeypatch.setattr(streams, "random_words", extreme)
    key = torch.zeros(2, dtype=torch.int64)
    uniform = random_uniform(key, 0, (4,))
    assert ((uniform > 0) & (uniform < 1)).all()
    assert random_normal(key, 0, (4,)).isfinite().all()


def test_names_seeds_and_positions_give_other_numbers() -> None:
    draws = [
        Stream(seed).at(*names).normal((8,))
        for seed in (0, 1, 2)
        for names in ((), ("a",), ("b",), ("a", "b"), ("a", 1), ("a", 2), ("a", 11))
    ]
    key = Stream(0).at("a").key
    draws += [random_normal(key, position, (8,)) for position in (1, 2, 2**32, 2**33)]
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert not (one == other).any()


def test_a_stream_is_a_function() -> None:
    stream = Stream(3).at("a", 1)
    assert torch.equal(stream.normal((5,)), Stream(3).at("a").at("1").normal((5,)))
    assert stream == Stream(3, ("a", "1"))
    assert stream.seed == 3
    assert torch.equal(stream.key, stream.key)
    assert stream.key.dtype == torch.int64
    assert ((stream.key >= 0) & (stream.key <= FULL)).all()


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    Stream(0).normal((5,))
    Stream(0).orthogonal(4, 4)
    Stream(0).permutation(9)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (20, 20), (30, 12), (12, 30)])
def test_orthogonal_has_orthonormal_rows_or_columns(rows: int, columns: int, seed: int) -> None:
    q = Stream(seed).at("q").orthogonal(rows, columns)
    assert q.shape == (rows, columns)
    gram = q @ q.T if rows <= columns else q.T @ q
    identity = torch.eye(min(rows, columns), dtype=torch.float64)
    torch.testing.assert_close(gram, identity, rtol=0, atol=1e-13)
    if rows == columns:
        assert abs(abs(float(torch.linalg.det(q))) - 1) < 1e-13


def test_orthogonal_is_haar_distributed() -> None:
    # under Haar measure, any fixed entry of an n x n matrix is n^-1/2 times a unit vector's
    # coordinate: (1 + q_ij) / 2 is Beta((n - 1) / 2, (n - 1) / 2)
    drawn = torch.stack([Stream(seed).at("haar").orthogonal(4, 4) for seed in range(400)])
    for i, j in [(0, 0), (1, 2), (3, 3)]:
        entries = ((1 + drawn[:, i, j]) / 2).numpy()
        assert stats.kstest(entries, stats.beta(1.5, 1.5).cdf).pvalue > 1e-3
    positive = int((torch.linalg.det(drawn) > 0).sum())
    assert stats.binomtest(positive, 400).pvalue > 1e-3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_permutation_is_a_permutation(count: int, seed: int) -> None:
    order = Stream(seed).at("order").permutation(count)
    assert order.dtype == torch.int64
    assert order.sort().values.tolist() == list(range(count))


def test_permutations_are_equally_likely() -> None:
    seen = [tuple(Stream(seed).at("order").permutation(3).tolist()) for seed in range(600)]
    counts = [seen.count(order) for order in set(seen)]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("draw", [random_normal, random_uniform])
def test_many_keys_at_once_are_each_key_alone(draw: object, seed: int) -> None:
    assert callable(draw)
    keys = torch.stack([Stream(seed + i).at("noise").key for i in range(4)])
    together = draw(keys.reshape(2, 2, 2), 7, (3, 5))
    assert together.shape == (2, 2, 3, 5)
    for i, key in enumerate(keys):
        assert torch.equal(together[i // 2, i % 2], draw(key, 7, (3, 5)))


@pytest.mark.parametrize("draw", [random_normal, random_uniform])
def test_noise_inside_vmap_and_inside_a_trace(draw: object) -> None:
    assert callable(draw)
    keys = torch.stack([Stream(seed).at("noise").key for seed in range(4)])
    expected = draw(keys, 7, (3, 5))
    step = torch.tensor(7)
    mapped = torch.vmap(lambda key, t: draw(key, t, (3, 5)), in_dims=(0, None))
    assert torch.equal(mapped(keys, step), expected)
    traced = make_fx(mapped)(keys, step)
    assert torch.equal(traced(keys, step), expected)
    assert torch.equal(traced(keys, torch.tensor(8)), draw(keys, 8, (3, 5)))
