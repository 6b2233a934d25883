"""Gradients, freezing, ties and states: as torch's autograd and optimizers do, or a word."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bioplaus
from bioplaus.errors import ModelError, UnsupportedError
from bioplaus.own_model.rule_state import each_apart

X = torch.randn(20, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(20) % 3


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)
    ).double()


def tied() -> nn.Sequential:
    net = model()
    net[2].weight = net[0].weight
    return net


def torch_steps(net: nn.Sequential, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        F.cross_entropy(net(X), Y).backward()
        optimizer.step()


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.allclose(x, y, rtol=1e-9, atol=1e-12) for x, y in pairs)


@pytest.mark.parametrize("make", [model, tied])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_freezing_and_thawing_midway_is_torchs(make, momentum: float) -> None:  # type: ignore[no-untyped-def]
    ours, theirs = make(), make()
    settings = {"lr": 0.1, "momentum": momentum, "weight_decay": 0.01}
    learner = bioplaus.Learner(
        ours, "backprop", loss="cross_entropy",
        optimizer=torch.optim.SGD(ours.parameters(), **settings),
    )  # fmt: skip
    optimizer = torch.optim.SGD(theirs.parameters(), **settings)
    for frozen in (None, 0, 4, None):
        for net in (ours, theirs):
            net.requires_grad_(True)
            if frozen is not None:
                net[frozen].requires_grad_(False)
        for _ in range(3):
            learner.step(X, Y)
        torch_steps(theirs, optimizer, 3)
        assert same(ours, theirs)


@pytest.mark.parametrize("rule", ["feedback-alignment", "kolen-pollack", "gaitprop"])
def test_a_frozen_layer_rests_whatever_the_rule(rule: str) -> None:
    net = nn.Sequential(*(m for _ in range(3) for m in (nn.Linear(8, 8), nn.LeakyReLU(0.1))))
    net.double()
    learner = bioplaus.Learner(net, rule)
    learner.step(X, Y)
    net[2].requires_grad_(False)
    before = net[2].weight.detach().clone()
    feedback = {name: t.clone() for name, t in learner.aux.items()}
    moved = net[4].weight.detach().clone()
    for _ in range(3):
        learner.step(X, Y)
    assert torch.equal(net[2].weight, before)
    assert not torch.equal(net[4].weight, moved)
    if rule == "kolen-pollack":  # its feedback weights learn what the forward ones learn
        assert torch.equal(learner.aux["2.weight"], feedback["2.weight"])
        assert not torch.equal(learner.aux["3.weight"], feedback["3.weight"])


def test_all_frozen_is_said() -> None:
    net = model()
    learner = bioplaus.Learner(net, "backprop")
    net.requires_grad_(False)
    for attempt in (
        lambda: learner.step(X, Y),
        lambda: bioplaus.Learner(net, "backprop"),
        lambda: bioplaus.backward(net, X, Y, "backprop"),
    ):
        with pytest.raises(ModelError, match=r"every parameter of the model is frozen"):
            attempt()


def test_a_tied_weight_gets_the_sum_of_its_places() -> None:
    net = tied()
    (expected,) = torch.autograd.grad(F.cross_entropy(net(X), Y), [net[0].weight])
    sgd = torch.optim.SGD(net.parameters(), lr=0.0)
    bioplaus.Learner(net, "backprop", loss="cross_entropy", optimizer=sgd).step(X, Y)
    torch.testing.assert_close(net[0].weight.grad, expected, rtol=1e-12, atol=1e-14)
    net.zero_grad()
    bioplaus.backward(net, X, Y, "backprop", "cross_entropy")
    torch.testing.assert_close(net[0].weight.grad, expected, rtol=1e-12, atol=1e-14)


def test_a_tied_bias_and_two_views_of_one_storage() -> None:
    for tie in ("bias", "storage"):
        ours, theirs = model(), model()
        for net in (ours, theirs):
            if tie == "bias":
                net[2].bias = net[0].bias
            else:
                net[2].weight.data = net[0].weight.data
        learner = bioplaus.Learner(
            ours, "backprop", loss="cross_entropy",
            optimizer=torch.optim.SGD(ours.parameters(), lr=0.1),
        )  # fmt: skip
        for _ in range(3):
            learner.step(X, Y)
        torch_steps(theirs, torch.optim.SGD(theirs.parameters(), lr=0.1), 3)
        assert same(ours, theirs)


def test_rules_with_a_trained_companion_of_each_weight_refuse_ties() -> None:
    with pytest.raises(UnsupportedError, match=r"kolen-pollack .* 1.weight and 2.weight are one"):
        bioplaus.Learner(tied(), "kolen-pollack")
    with pytest.raises(UnsupportedError, match="are one tensor; untie"):
        bioplaus.backward(tied(), X, Y, "kolen-pollack")
    bioplaus.Learner(tied(), "feedback-alignment").step(X, Y)


def test_two_calls_add_up_on_both_sides() -> None:
    net, state = model(), None
    for _ in range(2):
        state = bioplaus.backward(net, X, Y, "kolen-pollack", state=state).state
    assert state is not None
    for name, feedback in state.aux.items():
        forward = net[2 * (int(name[0]) - 1)].weight
        # Kolen and Pollack 1994: both weights get the same update
        assert torch.allclose(forward.grad, feedback.grad, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("kolen-pollack", {}),
        ("activation-relaxation", {"backward": "learned"}),
        ("relaxed-predictive-coding", {"backward": "learned"}),
        ("equilibrium-propagation", {"feedback": "own"}),
        ("local-losses", {}),
    ],
)
def test_one_batch_twice_doubles_a_rules_own_gradients(rule: str, options: Any) -> None:
    net = model()
    state = bioplaus.backward(net, X, Y, rule, **options).state
    assert state.trained_by_caller
    tensors = [*net.parameters(), *state.aux.values()]
    once = [t.grad.clone() if t.grad is not None else None for t in tensors]
    assert all(grad is not None and grad.any() for grad in once[-len(state.aux) :])
    bioplaus.backward(net, X, Y, rule, state=state, **options)
    for tensor, grad in zip(tensors, once, strict=True):
        if grad is None:
            assert tensor.grad is None
        else:
            torch.testing.assert_close(tensor.grad, 2 * grad, rtol=1e-12, atol=0)


def test_gradients_that_share_memory_come_apart() -> None:
    one = torch.ones(2, 3)
    found = each_apart({"a": one, "b": one, "c": one[0]}, [])
    for grad in found.values():
        grad.add_(1)
    assert all(torch.equal(grad, torch.full_like(grad, 2)) for grad in found.values())


def test_halves_of_a_batch_add_up_to_the_whole() -> None:
    whole, halves = model(), model()
    bioplaus.backward(whole, X, Y, "feedback-alignment", seed=3)
    state = None
    for part in (slice(0, 10), slice(10, 20)):
        state = bioplaus.backward(
            halves, X[part], Y[part], "feedback-alignment", state=state, seed=3
        ).state
    for one, other in zip(whole.parameters(), halves.parameters(), strict=True):
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad / 2, rtol=1e-12, atol=1e-14)


def test_gradients_add_in_place_and_frozen_ones_are_left() -> None:
    net = model()
    buffer = torch.ones_like(net[0].weight)
    net[0].weight.grad = buffer
    net[2].weight.grad = torch.ones_like(net[2].weight)
    net[2].weight.requires_grad_(False)
    bioplaus.backward(net, X, Y, "backprop")
    assert net[0].weight.grad is buffer and not torch.equal(buffer, torch.ones_like(buffer))
    assert torch.equal(net[2].weight.grad, torch.ones_like(net[2].weight))


@pytest.mark.parametrize("off", ["dropout", "norm"])
def test_each_modules_mode_counts_as_in_torch(off: str) -> None:
    net = nn.Sequential(
        nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)
    ).double()
    net.train(off == "dropout")
    net[2].eval()
    net[1].train(off == "norm" or net[1].training)
    theirs = copy.deepcopy(net)
    bioplaus.backward(net, X, Y, "backprop", "cross_entropy")
    F.cross_entropy(theirs(X), Y).backward()
    for ours, their in zip(net.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, their.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(net[1].running_var, theirs[1].running_var)


def test_a_state_is_taken_whole_or_not_at_all() -> None:
    first, second = model(), model()
    x, y = X, Y
    part = torch.optim.SGD(first[0].parameters(), lr=0.1)
    states = {
        "groups of": bioplaus.Learner(first, "backprop", optimizer=part).state_dict(),
        "another kind": bioplaus.Learner(
            first, "backprop", optimizer=torch.optim.SGD(first.parameters(), lr=0.1)
        ).state_dict(),
        "lacks rule": first.state_dict(),
        "no state of a learner": None,
    }
    learner = bioplaus.Learner(second, "backprop")
    learner.step(x, y)
    whole = learner.state_dict()
    states["0.weight has the shape"] = {
        **whole, "model": {**whole["model"], "0.weight": torch.ones(3, 3)}
    }  # fmt: skip
    states["seed is"] = {**whole, "seed": "3"}
    before = copy.deepcopy(whole)
    for message, state in states.items():
        with pytest.raises(ModelError, match=message) as caught:
            learner.load_state_dict(state)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
        after = learner.state_dict()
        assert equal(before["model"], after["model"]) and after["steps"] == 1
        assert equal(before["optimizer"]["state"], after["optimizer"]["state"])


def equal(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b


def test_moments_of_another_model_are_refused() -> None:
    def narrow() -> nn.Sequential:
        return nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 3)).double()

    learner, other = bioplaus.Learner(narrow(), "backprop"), bioplaus.Learner(narrow(), "backprop")
    other.step(X, Y)
    state = other.state_dict()
    moments = copy.deepcopy(state["optimizer"])
    moments["state"][0]["exp_avg"] = torch.zeros(2, 2)
    with pytest.raises(ModelError, match="exp_avg of parameter 0 has the shape"):
        learner.load_state_dict({**state, "optimizer": moments})


def test_a_scheduled_learner_is_loaded() -> None:
    ours, other = bioplaus.Learner(model(), "backprop"), bioplaus.Learner(model(), "backprop")
    scheduler = torch.optim.lr_scheduler.StepLR(ours.optimizer, step_size=1, gamma=0.5)
    ours.step(X, Y)
    scheduler.step()
    other.load_state_dict(ours.state_dict())
    assert other.optimizer.param_groups[0]["lr"] == 0.0005
    ours.load_state_dict(other.state_dict())


def test_an_optimizer_of_another_model_is_refused() -> None:
    net, other = model(), model()
    with pytest.raises(ModelError, match="none of the model's parameters"):
        bioplaus.Learner(
            net, optimizer=torch.optim.SGD(other.parameters(), lr=0.1), rule="backprop"
        )
    both = torch.optim.SGD([*net.parameters(), *other.parameters()], lr=0.1)
    with pytest.raises(ModelError, match="6 tensors that are not this model's"):
        bioplaus.Learner(net, "backprop", optimizer=both)
    used = torch.optim.SGD(net.parameters(), lr=0.1)
    bioplaus.Learner(net, "kolen-pollack", optimizer=used)
    with pytest.raises(ModelError, match="of a learner before"):
        bioplaus.Learner(net, "kolen-pollack", optimizer=used)


def test_a_model_moved_without_its_learner_is_noticed() -> None:
    net = model()
    learner = bioplaus.Learner(net, "kolen-pollack")
    net.float()
    with pytest.raises(ModelError, match=r"rule's tensors are torch.float64 .*learner.to"):
        learner.step(X, Y)
    learner.to(torch.float32).step(X.float(), Y)
