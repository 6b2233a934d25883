"""Sparse attacks: at most k of an input's numbers changed, to values in the data's range.

The margin of an example is its class's output minus the largest of the others; it is answered
right while that is above 0.

    greedy      white box, by autograd of the answer, never by a rule's own signal: k times, of
                the inputs that promise most by the gradient every value is tried, and the best
                change kept if it lowers the margin. Nested in k: one run gives the whole curve.
    sparse_rs   random search (Croce, Andriushchenko, Singh, Flammarion, Hein 2022, Sparse-RS,
                arXiv 2006.12834, untargeted L0 with the published schedule): k random inputs at
                a random end of the range; at each query some of them are moved, and it stays if
                the margin falls. It needs no gradient, and so finds what a masked one hides.

Here an "input" is one number of an example: of an image with channels, one of one channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bioplaus.numerics.random_streams import Stream

Margin = Callable[[Tensor, Tensor], Tensor]
"""(examples (N, d), classes (N)) -> margins (N)."""

_ELEMENTS = 2**24
"""Numbers of candidate examples held at once."""
_TOGETHER = 16
"""Queries whose random numbers are drawn at once."""
_MOVED = ((0, 1.0), (50, 1 / 2), (200, 1 / 4), (500, 1 / 5), (1000, 1 / 6), (2000, 1 / 8),
          (4000, 1 / 10), (6000, 1 / 12), (8000, 1 / 15))  # fmt: skip
"""Up to which of 10,000 queries which share of 0.8 k is moved; 1 / 20 after the last."""


def margins(outputs: Tensor, y: Tensor) -> Tensor:
    """The outputs (N, C) of the classes y (N), minus the largest of the others each."""
    own = outputs.gather(1, y[:, None])[:, 0]
    others = outputs.scatter(1, y[:, None], -torch.inf).amax(1)
    return own - others


def greedy(
    margin: Margin,
    x: Tensor,
    y: Tensor,
    budget: int,
    values: Sequence[float],
    candidates: int = 20,
) -> tuple[Tensor, Tensor]:
    """Margins after 0, 1, ..., `budget` changes, (budget + 1, N), and the last examples (N, d).

    values: what an input may be changed to, the ends of the range among them. An example whose
    margin is 0 or below is left as it is. RuntimeError where the answer has no gradient.
    """
    per_example = candidates * len(values) * x.shape[1]
    chunk = max(1, _ELEMENTS // per_example)
    parts = [
        _greedy(margin, a, b, budget, values, candidates)
        for a, b in zip(torch.split(x, chunk), torch.split(y, chunk), strict=True)
    ]
    return torch.cat([m for m, _ in parts], 1), torch.cat([a for _, a in parts])


def _greedy(
    margin: Margin, x: Tensor, y: Tensor, budget: int, values: Sequence[float], candidates: int
) -> tuple[Tensor, Tensor]:
    x = x.clone()
    allowed = torch.tensor(values, dtype=x.dtype, device=x.device)
    unused = torch.ones_like(x, dtype=torch.bool)
    with torch.no_grad():
        now = margin(x, y)
    curve = [now]
    open_ = now > 0
    for step in range(budget):
        now = now.clone()
        rows = open_.nonzero()[:, 0]
        if step < x.shape[1] and len(rows):
            slope = _slope(margin, x[rows], y[rows])
            here = x[rows]
            gain = torch.maximum(
                -slope * (allowed.max() - here), -slope * (allowed.min() - here)
            ).masked_fill(~unused[rows], -torch.inf)
            places = gain.topk(min(candidates, x.shape[1] - step), dim=1).indices
            lowest, place, value = _best(margin, here, y[rows], places, allowed)
            better = lowest < now[rows]
            changed = rows[better]
            x[changed, place[better]] = value[better]
            unused[changed, place[better]] = False
            now[changed] = lowest[better]
            open_[rows[~better]] = False  # the next try would be the same
            open_ &= now > 0
        curve.append(now)
    return torch.stack(curve), x


def _slope(margin: Margin, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of each example's margin, (N, d)."""
    with torch.enable_grad():
        inputs = x.detach().requires_grad_()
        total = margin(inputs, y).sum()
        (slope,) = torch.autograd.grad(total, inputs)
    return slope


@torch.no_grad()
def _best(
    margin: Margin, x: Tensor, y: Tensor, places: Tensor, values: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of every value at every place (N, P) the lowest margin, with its place and value, (N)."""
    examples, number = places.shape
    tries = x[:, None, None, :].repeat(1, number, len(values), 1)
    where = places[:, :, None, None].expand(-1, -1, len(values), 1)
    tries.scatter_(3, where, values[None, None, :, None].expand(examples, number, -1, 1))
    found = margin(tries.flatten(0, 2), y.repeat_interleave(number * len(values)))
    lowest, index = found.reshape(examples, -1).min(1)
    place = places.gather(1, (index // len(values))[:, None])[:, 0]
    return lowest, place, values[index % len(values)]


@torch.no_grad()
def sparse_rs(
    margin: Margin,
    x: Tensor,
    y: Tensor,
    k: int,
    ends: tuple[float, float],
    queries: int,
    stream: Stream,
) -> tuple[Tensor, Tensor]:
    """The lowest margins found by `queries` tries of k changes, (N), and those examples (N, d).

    ends: of the range; every change is to one of them. An example whose margin is 0 or below
    is left as it is.
    """
    k = min(k, x.shape[1])
    colours = torch.tensor(ends, dtype=x.dtype, device=x.device)
    uniform = stream.at("start").uniform((len(x), 2, k)).to(x.device)
    places = _distinct(uniform[:, 0], torch.empty(len(x), 0, dtype=torch.int64), x.shape[1])
    picked = colours[(uniform[:, 1] < 0.5).long()]
    best = x.scatter(1, places, picked)
    lowest = margin(best, y)
    most = max(1, int(0.8 * k))
    drawn = torch.empty(0)
    for query in range(1, queries):
        if query == 1 or query % _TOGETHER == 0:
            block = stream.at("queries", query // _TOGETHER)
            drawn = block.uniform((_TOGETHER, len(x), k + 2 * most)).to(x.device)
        rows = (lowest > 0).nonzero()[:, 0]
        if not len(rows):
            break
        moved = max(1, int(_share(query, queries) * k))
        uniform = drawn[query % _TOGETHER, rows]
        order = uniform[:, :k].argsort(1)  # the first `moved` of them go
        there = places[rows].gather(1, order)
        kept = picked[rows].gather(1, order)
        # from all inputs that are not among the k, or from these where there are no others
        room = x.shape[1] - k
        taken = there if room >= moved else there[:, moved:]
        fresh = _distinct(uniform[:, k : k + moved], taken, x.shape[1])
        colour = colours[(uniform[:, k + most : k + most + moved] < 0.5).long()]
        next_places = torch.cat([fresh, there[:, moved:]], 1)
        next_picked = torch.cat([colour, kept[:, moved:]], 1)
        tried = x[rows].scatter(1, next_places, next_picked)
        found = margin(tried, y[rows])
        better = found < lowest[rows]
        changed = rows[better]
        places[changed], picked[changed] = next_places[better], next_picked[better]
        best[changed], lowest[changed] = tried[better], found[better]
    return lowest, best


def _share(query: int, queries: int) -> float:
    """Of the k inputs, how many are moved at a query."""
    at = int(query / queries * 10_000)
    return 0.8 * next((share for last, share in _MOVED if at <= last), 1 / 20)


def _distinct(uniform: Tensor, taken: Tensor, count: int) -> Tensor:
    """Places out of range(count) that differ from each other and from those taken, (N, m).

    uniform: on (0, 1), (N, m). taken: distinct, (N, t). Each is uniform on what is left: the
    r-th free place, which every taken place not above it moves up by one.
    """
    taken = taken.to(uniform.device)
    for column in uniform.unbind(1):
        free = count - taken.shape[1]
        place = (column * free).long().clamp(max=free - 1)
        for other in taken.sort(1).values.unbind(1):
            place = place + (place >= other)
        taken = torch.cat([taken, place[:, None]], 1)
    return taken[:, taken.shape[1] - uniform.shape[1] :]
