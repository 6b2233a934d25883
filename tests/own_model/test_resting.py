"""What rests in a step has no gradient on one's own model, so that its optimizer passes it by."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bioplaus
from bioplaus.learning.optimizers import OptimizerSpec
from tests.helpers.networks import draw
from tests.helpers.resting import TURNS, InTurns, by_torch

SPEC = OptimizerSpec(name="adam", lr=1e-2, weight_decay=0.1)
PLACES = {"1": 0, "2": 2, "3": 4}


def model() -> nn.Sequential:
    torch.manual_seed(0)
    parts = nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 4)
    return nn.Sequential(*parts).double()


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(draw(step, "x", 8, 6), draw(step, "y", 8, 4)) for step in range(5)]


def theirs(net: bioplaus.Network) -> dict[str, torch.Tensor]:
    start = {_own(n): t for n, t in model().named_parameters()}
    return by_torch(net, start, SPEC, batches())


def _own(name: str) -> str:
    place, _, kind = name.partition(".")
    return f"{int(place) // 2 + 1}.{kind}"


def close(ours: nn.Module, due: dict[str, torch.Tensor]) -> bool:
    return all(torch.allclose(t, due[_own(n)], atol=1e-12) for n, t in ours.named_parameters())


def test_a_learner_leaves_what_rests() -> None:
    learner = bioplaus.Learner(model(), InTurns, optimizer=SPEC)
    for step, (x, y) in enumerate(batches()):
        learner.step(x, y)
        resting = {_own(n) for n, p in learner.model.named_parameters() if p.grad is None}
        assert resting == TURNS[step % 2]
    assert close(learner.model, theirs(learner.net))


def test_backward_gives_what_rests_no_gradient() -> None:
    ours, state = model(), None
    optimizer = SPEC.build(ours.parameters())
    for x, y in batches():
        optimizer.zero_grad()
        state = bioplaus.backward(ours, x, y, InTurns, state=state).state
        optimizer.step()
    assert state is not None and close(ours, theirs(state.net))


def test_a_tensor_at_two_places_rests_where_both_do() -> None:
    tied = model()
    assert isinstance(tied[2], nn.Linear) and isinstance(tied[4], nn.Linear)
    wide = nn.Sequential(*tied[:4], nn.Linear(5, 5).double())
    wide[4].weight = tied[2].weight  # layers 2 and 3
    learner = bioplaus.Learner(wide, InTurns, optimizer=SPEC)
    for step in range(2):  # 2.weight rests in odd steps, 3.weight never
        before = tied[2].weight.detach().clone()
        learner.step(draw(step, "x", 8, 6), draw(step, "y", 8, 5))
        assert not torch.equal(tied[2].weight, before)


def test_the_conformance_kit_looks_at_what_rests() -> None:
    from bioplaus.testing import NETWORKS
    from bioplaus.testing.cases import Case
    from bioplaus.testing.failures import Failure
    from bioplaus.testing.reach import reach
    from tests.helpers.faulty_rules import Honest

    class Moves(Honest):
        name = "moves"

        def rests(self, net: bioplaus.Network, step: int) -> bioplaus.Resting:
            return bioplaus.Resting(params=frozenset({"1"}))

    net = NETWORKS["rectangular"]
    assert "3 tensors rest" in reach.on(Case(InTurns, "rectangular", net, {}, None))
    with pytest.raises(Failure, match=r"1.bias rests, and its gradient is not zero"):
        reach.on(Case(Moves, "rectangular", net, {}, None))
