"""A pruned student of a one-layer teacher, by accelerated gradient descent, with its rates.

    y = (1/K) sum_j relu(w*_j . x),  x ~ N(0, I_d),  w*_j of unit length with r entries not zero
    W <- W - eta M * grad + beta (W - W_before),  the loss 1/(2N) sum (y - g)^2
    W_0 = W* + noise on the mask, a share of |W*| long

The setting of Zhang et al. 2021 (arXiv 2110.05667), whose initialisation and constants were
not readable: the start near the teacher and the step sizes are a reconstruction.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bioplaus.numerics.random_streams import Stream

INPUTS, UNITS, START = 50, 5, 0.3


def teachers(seeds: range, r: int) -> Tensor:
    """(seeds, K, d)."""
    made = []
    for seed in seeds:
        stream = Stream(seed).at("teacher", r)
        weight = stream.at("weight").normal((UNITS, INPUTS))
        for j in range(UNITS):
            weight[j, stream.at("places", j).permutation(INPUTS)[r:]] = 0.0
        made.append(weight / weight.norm(dim=1, keepdim=True))
    return torch.stack(made)


def errors(seeds: range, r: int, examples: int, steps: int, eta: float, beta: float,
           dense: bool = False) -> Tensor:  # fmt: skip
    """|W - W*| / |W*| before each step and after the last, (steps + 1, seeds).

    dense: the student has all weights, whatever the teacher's.
    """
    teacher = teachers(seeds, r)
    mask = torch.ones_like(teacher) if dense else (teacher != 0).double()
    x = torch.stack([Stream(s).at("x", r).normal((examples, INPUTS)) for s in seeds])
    noise = mask * torch.stack([Stream(s).at("start", r).normal((UNITS, INPUTS)) for s in seeds])
    size = teacher.flatten(1).norm(dim=1)
    now = teacher + noise * (START * size / noise.flatten(1).norm(dim=1))[:, None, None]
    before = now.clone()
    y = torch.relu(x @ teacher.mT).mean(-1)
    found = [(now - teacher).flatten(1).norm(dim=1) / size]
    for _ in range(steps):
        drive = x @ now.mT
        wrong = torch.relu(drive).mean(-1) - y
        grad = ((wrong[..., None] * (drive > 0)).mT @ x) / (UNITS * examples)
        now, before = now - eta * mask * grad + beta * (now - before), now
        found.append((now - teacher).flatten(1).norm(dim=1) / size)
    return torch.stack(found)


def slope(curve: Tensor) -> float:
    """log10 of the error per 100 steps, fitted between a hundredth of the start and 1e-11."""
    steps = torch.arange(len(curve), dtype=torch.float64)
    inside = (curve < 1e-2 * curve[0]) & (curve > 1e-11)
    if int(inside.sum()) < 10:  # a slow one has not come so far
        inside = steps > len(curve) / 2
    t, e = steps[inside], torch.log10(curve[inside])
    t = t - t.mean()
    return 100 * float((t * e).sum() / (t * t).sum())


def slowest(seed: int, r: int, examples: int, eta: float) -> float:
    """log10 of the error per 100 steps of plain gradient descent near the teacher.

    100 log10 max |1 - eta lambda| over the eigenvalues of the loss's Hessian there, on the mask.
    """
    teacher = teachers(range(seed, seed + 1), r)[0]
    x = Stream(seed).at("x", r).normal((examples, INPUTS))
    active = (x @ teacher.T > 0).double() / UNITS
    parts = [active[:, j, None] * x[:, teacher[j] != 0] for j in range(UNITS)]
    jacobian = torch.cat(parts, 1)
    spectrum = torch.linalg.eigvalsh(jacobian.T @ jacobian / examples)
    return 100 * math.log10(float((1 - eta * spectrum).abs().max()))


def success(seeds: range, r: int, examples: int, dense: bool = False) -> float:
    """The share of seeds whose error is below 1e-3 after 900 steps."""
    last = errors(seeds, r, examples, 900, UNITS, 0.8, dense)[-1]
    return float((last < 1e-3).double().mean())


def main() -> None:
    """`python -m tests.helpers.teacher_student`: the fitted rates, and examples needed."""
    seeds = range(10)
    print(
        "r   slope at beta .8   at 0 (sd, by the Hessian)   final error   N50 / (r K)   dense N50"
    )
    for r in (5, 10, 20, 30, 50):
        fast = errors(range(1), r, 2000, 500, 2 * UNITS, 0.8)
        slow = errors(seeds, r, 2000, 400, 2 * UNITS, 0.0)
        found = torch.tensor([slope(c) for c in slow.unbind(1)])
        due = sum(slowest(s, r, 2000, 2 * UNITS) for s in seeds) / len(seeds)
        need, full = math.nan, math.nan
        for n in range(max(10, r * UNITS // 2), 3 * r * UNITS, max(1, r * UNITS // 20)):
            if success(seeds, r, n) >= 0.5:
                need = n / (r * UNITS)
                break
        for n in range(200, 600, 25):
            if r < 50 and success(seeds, r, n, dense=True) >= 0.5:
                full = n
                break
        print(f"{r:<3} {slope(fast[:, 0]):>8.2f} {float(found.mean()):>14.2f} "
              f"({float(found.std()):.2f}, {due:.2f}) {float(fast[-1, 0]):>12.1e} "
              f"{need:>10.2f} {full:>14g}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
