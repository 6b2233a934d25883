"""Pairs within a batch and labels as inputs, by the contract as it is: the page's example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bioplaus.learning.batching import NoiseSource
from bioplaus.learning.rule import Batch, RuleConfig, State
from bioplaus.numerics.random_streams import Stream
from bioplaus.testing.cases import Case
from bioplaus.testing.contract import independence, purity, trace, vmap
from bioplaus.testing.networks import make_network
from rules.forward_forward import labelled as by_forward_forward
from tests.helpers.networks import draw, worst

PAGE = Path(__file__).parents[2] / "docs" / "write-a-rule.md"
SPACE: dict[str, Any] = {}
exec(PAGE.read_text(encoding="utf-8").partition("# my_pairs.py\n")[2].partition("```")[0], SPACE)
PAIRS = SPACE["MyPairs"]
NET = make_network((7, 6, 5, 3), "tanh", "mse")
N = 8


def given() -> tuple[dict[str, Tensor], Batch, Tensor]:
    y = torch.eye(3, dtype=torch.float64)[torch.arange(N) % 3]
    noise = NoiseSource(PAIRS(RuleConfig()).noise(NET, N), [5], torch.float64, torch.device("cpu"))
    return NET.init(Stream(1)), Batch(draw(0, "x", N, 7), y), noise.at(3)["partner"][0]


def test_it_is_the_gradient_of_the_layers_own_losses() -> None:
    """1/2 <s |h_l - sg(h_l of the partner)|^2>, the layer below held; above, the task's loss."""
    params, batch, drawn = given()
    ours = PAIRS(RuleConfig()).update(NET, params, State({}, {}), batch, {"partner": drawn}).grads
    partner = sorted(range(N), key=lambda i: float(drawn[i]))
    same = torch.tensor([1.0 if i % 3 == partner[i] % 3 else -1.0 for i in range(N)])

    def total(p: dict[str, Tensor]) -> Tensor:
        h, loss = batch.x, torch.zeros((), dtype=torch.float64)
        for l in range(2):
            h = NET.step(p, l, h.detach()).output
            loss = loss + (same * ((h - h[partner].detach()) ** 2).sum(1)).mean() / 2
        return loss + NET.loss.value(NET.step(p, 2, h.detach()).output, batch.y)

    assert worst(ours, torch.func.grad(total)(params)) <= 1e-12


def test_partners_are_a_permutation_of_the_seeds_own_at_each_step() -> None:
    cpu, specs = torch.device("cpu"), PAIRS(RuleConfig()).noise(NET, 50)
    together = NoiseSource(specs, [1, 2], torch.float64, cpu)
    alone = NoiseSource(specs, [2], torch.float64, cpu)
    orders = [together.at(step)["partner"].argsort(1) for step in range(2)]
    assert all(sorted(row.tolist()) == list(range(50)) for order in orders for row in order)
    assert not torch.equal(orders[0], orders[1]) and not torch.equal(orders[0][0], orders[0][1])
    assert torch.equal(alone.at(1)["partner"].argsort(1)[0], orders[1][1])


def test_the_kit_finds_no_fault_with_it() -> None:
    case = Case(PAIRS, "plain", NET, {}, None)
    for check in (purity, vmap, independence, trace):
        check.on(case)


def test_labels_as_inputs_are_forward_forwards() -> None:
    x, y = draw(0, "x", N, 1, 3, 4), torch.eye(3, dtype=torch.float64)[torch.arange(N) % 3]
    shown = SPACE["labelled"](x, y)
    assert torch.equal(shown, by_forward_forward(x, y)) and shown.shape == x.shape
    assert torch.equal(shown.flatten(1)[:, :3], y)
    assert torch.equal(shown.flatten(1)[:, 3:], x.flatten(1)[:, 3:])
