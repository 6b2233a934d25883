"""Random numbers as a function: (seed, name of the stream, position) -> number.

A stream has no state to save, share or advance. The same seed therefore means the
same initial weights, batch order and noise for every rule, whichever seeds run
beside it, on every device, after a resume, and inside `vmap` or a captured graph.

The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011), written in integer tensor operations; keys come from SHA-256.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)

Shape = Sequence[int]


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]) -> Tensor:
    """Four words of 32 random bits for each counter.

    counter, key: int64 tensors that broadcast together, each holding one 32-bit word.
    Returns int64, the broadcast shape with a last axis of 4, values in [0, 2^32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # int64 products wrap, but their 64 bits are those of the unsigned product
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        high0, high1 = (p0 >> 32) & _MASK, (p1 >> 32) & _MASK
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, p1 & _MASK, high0 ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    # after ten rounds the words may still differ in shape: adding zeros broadcasts them
    zero = (c0 ^ c1 ^ c2 ^ c3) & 0
    return torch.stack([word + zero for word in (c0, c1, c2, c3)], dim=-1)


def random_words(keys: Tensor, position: Tensor | int, count: int) -> Tensor:
    """`count` words of 32 bits for each key, at one position of its stream.

    keys: int64 (..., 2); position: the step or example that a draw belongs to, an int or int64,
    one for all or (...), one for each key. Returns int64 (..., count).
    """
    blocks = torch.arange(-(-count // 4), dtype=torch.int64, device=keys.device)
    step = torch.as_tensor(position, dtype=torch.int64, device=keys.device)
    step = step[..., None] if step.ndim else step
    counter = (blocks & _MASK, blocks >> 32, step & _MASK, (step >> 32) & _MASK)
    words = philox(counter, (keys[..., 0, None], keys[..., 1, None]))
    return words.flatten(-2)[..., :count]


def random_uniform(keys: Tensor, position: Tensor | int, shape: Shape) -> Tensor:
    """Uniform on the open interval (0, 1); float64 (..., *shape) for keys (..., 2)."""
    words = random_words(keys, position, math.prod(shape))
    return ((words.double() + 0.5) * 2.0**-32).reshape(*keys.shape[:-1], *shape)


def random_normal(keys: Tensor, position: Tensor | int, shape: Shape) -> Tensor:
    """Standard normal by Box and Muller; float64 (..., *shape) for keys (..., 2)."""
    count = math.prod(shape)
    half = -(-count // 2)
    uniform = random_uniform(keys, position, (2 * half,))
    radius = torch.sqrt(-2.0 * torch.log(uniform[..., :half]))
    angle = (2.0 * math.pi) * uniform[..., half:]
    pair = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1)
    return pair[..., :count].reshape(*keys.shape[:-1], *shape)


def random_order(keys: Tensor, count: int) -> Tensor:
    """A random order of range(count) for each key; int64 (..., count) for keys (..., 2)."""
    words = random_words(keys, 0, 2 * count).reshape(*keys.shape[:-1], count, 2)
    # 63 bits: a tie is all but impossible, and the stable sort settles it
    return torch.argsort(((words[..., 0] & 0x7FFFFFFF) << 32) | words[..., 1], stable=True)


@dataclass(frozen=True)
class Stream:
    """One seed's random numbers, under a name; draws are float64 on the CPU.

    Two draws from one stream are the same numbers: give each use a name of its own
    with `stream.at("feedback", layer)`.

    Example:

        >>> from bioplaus import Stream
        >>> noise = Stream(3).at("noise", 1)
        >>> noise.normal((2,)).equal(noise.normal((2,)))
        True
        >>> noise.normal((2,)).equal(Stream(3).at("noise", 2).normal((2,)))
        False
    """

    seed: int
    path: tuple[str, ...] = ()

    def at(self, *names: str | int) -> Stream:
        """The stream of that name under this one."""
        return Stream(self.seed, (*self.path, *map(str, names)))

    @property
    def key(self) -> Tensor:
        """The generator's key: int64 (2,), two 32-bit words."""
        text = "/".join(["bioplaus", str(self.seed), *self.path])
        digest = hashlib.sha256(text.encode()).digest()
        return torch.tensor([int.from_bytes(digest[i : i + 4], "big") for i in (0, 4)])

    def generator(self) -> torch.Generator:
        """torch's own generator on the CPU, started by the key: for millions of numbers at once."""
        high, low = self.key.tolist()
        return torch.Generator().manual_seed((high & 0x7FFFFFFF) << 32 | low)

    def uniform(self, shape: Shape) -> Tensor:
        """Uniform on (0, 1)."""
        return random_uniform(self.key, 0, shape)

    def normal(self, shape: Shape) -> Tensor:
        """Standard normal."""
        return random_normal(self.key, 0, shape)

    def orthogonal(self, rows: int, columns: int) -> Tensor:
        """A (rows, columns) matrix with orthonormal rows or columns, whichever are fewer.

        Haar-distributed: QR of a Gaussian matrix with diag(R) > 0 (Mezzadri 2007).
        """
        tall = self.normal((max(rows, columns), min(rows, columns)))
        q, r = torch.linalg.qr(tall)
        unique: Tensor = q * torch.sign(torch.diagonal(r))
        return unique if rows >= columns else unique.T.contiguous()

    def permutation(self, count: int) -> Tensor:
        """A random order of range(count), int64."""
        return random_order(self.key, count)
