"""`bioplaus.Learner`: one object that trains a model by a rule."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

import bioplaus
from bioplaus.errors import ModelError, UnknownNameError, UnsupportedError
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Batch, State
from bioplaus.plugins import registry

RULES = ["backprop", "gaitprop", "targetprop", "kolen-pollack", "weight-mirror", "z-il"]


def model(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    parts = [m for _ in range(3) for m in (nn.Linear(6, 6), nn.LeakyReLU(0.1), nn.Dropout(0.1))]
    return nn.Sequential(*parts[:2], *parts[3:5], *parts[6:8]).to(dtype)


def batches(count: int, dtype: torch.dtype = torch.float64) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(8, 6, generator=generator, dtype=torch.float64).to(dtype),
            torch.randint(0, 6, (8,), generator=generator),
        )
        for _ in range(count)
    ]


def everything(learner: bioplaus.Learner) -> list[Tensor]:
    return [
        *(p.detach().clone() for p in learner.model.parameters()),
        *(t.clone() for t in learner.aux.values()),
        *(t.clone() for t in learner.memory.values()),
    ]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("rule", ["backprop", "gaitprop", "targetprop", "weight-mirror"])
def test_a_learner_does_what_backward_and_an_optimizer_do(rule: str) -> None:
    ours, theirs = model(), model()
    learner = bioplaus.Learner(ours, rule, optimizer=torch.optim.SGD(ours.parameters(), lr=0.1))
    optimizer, state = torch.optim.SGD(theirs.parameters(), lr=0.1), None
    for x, y in batches(4):
        step = learner.step(x, y)
        optimizer.zero_grad()
        done = bioplaus.backward(theirs, x, y, rule=rule, state=state)
        state = done.state
        optimizer.step()
        assert torch.equal(step.loss, done.loss)
    assert learner.steps == 4
    assert same(list(ours.parameters()), list(theirs.parameters()))
    assert state is not None
    assert same(list(learner.aux.values()), list(state.aux.values()))


def test_kolen_pollack_comes_to_mirror_at_the_rate_of_the_decay() -> None:
    """W - B shrinks by 1 - lr * decay at every step, whatever the data: one optimizer for both."""
    net = model()
    sgd = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.05)
    learner = bioplaus.Learner(net, "kolen-pollack", optimizer=sgd)
    names = {"2.weight": net[2], "3.weight": net[4]}
    before = {k: (m.weight - learner.aux[k]).detach().clone() for k, m in names.items()}
    for x, y in batches(10):
        learner.step(x, y)
    for name, module in names.items():
        difference = module.weight.detach() - learner.aux[name]
        assert torch.allclose(difference, 0.995**10 * before[name], rtol=0, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_a_saved_learner_goes_on_bit_for_bit(rule: str) -> None:
    data = batches(6)
    through = bioplaus.Learner(model(), rule, seed=3)
    for x, y in data:
        through.step(x, y)
    first = bioplaus.Learner(model(), rule, seed=3)
    for x, y in data[:3]:
        first.step(x, y)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    torch.manual_seed(99)
    second = bioplaus.Learner(copy.deepcopy(model()), rule)
    second.load_state_dict(torch.load(file))
    for x, y in data[3:]:
        second.step(x, y)
    assert (second.steps, second.seed) == (6, 3)
    assert same(everything(second), everything(through))


def test_what_was_saved_does_not_change_with_the_learner() -> None:
    learner = bioplaus.Learner(model(), "targetprop")
    (x, y), (x2, y2) = batches(2)
    learner.step(x, y)
    aux = {k: t.clone() for k, t in learner.state_dict()["aux"].items()}
    saved = learner.state_dict()["aux"]
    learner.step(x2, y2)
    assert all(torch.equal(saved[k], aux[k]) for k in aux)


@pytest.mark.parametrize("rule", ["backprop", "kolen-pollack"])
def test_schedulers_take_the_optimizer(rule: str) -> None:
    learner = bioplaus.Learner(model(), rule)
    start = [group["lr"] for group in learner.optimizer.param_groups]
    scheduler = torch.optim.lr_scheduler.StepLR(learner.optimizer, step_size=2, gamma=0.1)
    for x, y in batches(4):
        learner.step(x, y)
        scheduler.step()
    assert len(start) == (2 if rule == "kolen-pollack" else 1)
    now = [group["lr"] for group in learner.optimizer.param_groups]
    assert now == pytest.approx([0.01 * lr for lr in start])


def test_a_rate_of_nothing_changes_nothing() -> None:
    net = model()
    learner = bioplaus.Learner(net, "backprop")
    learner.optimizer.param_groups[0]["lr"] = 0.0
    before = [p.detach().clone() for p in net.parameters()]
    learner.step(*batches(1)[0])
    assert same(before, [p.detach() for p in net.parameters()])


@pytest.mark.parametrize("rule", RULES)
def test_it_moves_to_another_precision_and_goes_on(rule: str) -> None:
    learner = bioplaus.Learner(model(torch.float32), rule)
    learner.step(*batches(1, torch.float32)[0])
    assert learner.to(torch.float64) is learner
    assert all(t.dtype == torch.float64 for t in everything(learner))
    for x, y in batches(2):
        assert learner.step(x, y).loss.dtype == torch.float64
    learner.to("cpu", torch.float32)
    assert learner.step(*batches(1, torch.float32)[0]).loss.dtype == torch.float32
    assert all(t.dtype == torch.float32 and t.isfinite().all() for t in everything(learner))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize("rule", RULES)
def test_it_moves_to_the_gpu_and_back(rule: str) -> None:
    stay, move = (bioplaus.Learner(model(), rule) for _ in range(2))
    for i, (x, y) in enumerate(batches(4)):
        stay.step(x, y)
        if i == 1:
            move.to("cuda")
        where = "cuda" if i >= 1 else "cpu"
        move.step(x.to(where), y.to(where))
    for ours, theirs in zip(everything(move.to("cpu")), everything(stay), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-7, atol=1e-9)


class Refreshing(registry.load("rule", "backprop")):  # type: ignore[misc]
    """Backprop that notes in its memory when it was refreshed."""

    name = "refreshing"
    refresh_every = 3

    def init_state(self, net, params, stream):  # type: ignore[no-untyped-def]
        return State({}, {"count": torch.zeros((), dtype=torch.float64)})

    def refresh(self, net, params, state, batch, stream):  # type: ignore[no-untyped-def]
        assert isinstance(batch, Batch)
        return State(state.aux, {"count": state.memory["count"] + 1})


def test_rules_are_refreshed_as_often_as_they_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FROM_FILES", {})
    registry.add(registry.Plugin("rule", "refreshing", f"{__name__}:Refreshing", "here"))
    learner = bioplaus.Learner(model(), "refreshing")
    for x, y in batches(7):
        learner.step(x, y)
    assert learner.memory["count"] == 3  # before steps 0, 3 and 6


def test_predictions_are_the_models() -> None:
    net, (x, y) = model(), batches(1)[0]
    learner = bioplaus.Learner(net, "gaitprop", optimizer=OptimizerSpec(name="sgd", lr=0.01))
    learner.step(x, y)
    with torch.no_grad():
        assert torch.allclose(learner.predict(x), net(x), atol=1e-14)


def test_frozen_parameters_stay() -> None:
    net = model()
    net[0].weight.requires_grad_(False)
    before = net[0].weight.clone()
    learner = bioplaus.Learner(net, "backprop")
    learner.step(*batches(1)[0])
    assert torch.equal(net[0].weight, before) and net[0].weight.grad is None


def test_images_need_their_shape() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 4))
    with pytest.raises(ModelError, match=r"give the shape of one example, as in input_shape="):
        bioplaus.Learner(net, "backprop")
    learner = bioplaus.Learner(net, "backprop", input_shape=(1, 4, 4), loss="cross_entropy")
    x, y = torch.randn(5, 1, 4, 4), torch.tensor([0, 1, 2, 3, 0])
    losses = [float(learner.step(x, y).loss) for _ in range(30)]
    assert losses[-1] < losses[0]


def test_mistakes_are_one_clear_line() -> None:
    net, (x, y) = model(), batches(1)[0]
    learner = bioplaus.Learner(net, "backprop")
    with pytest.raises(ModelError, match="8 examples"):
        learner.step(x, y[:3])
    with pytest.raises(ModelError, match=r"has the shape \(5,\), but the model reads \(6,\)"):
        learner.step(x[:, :5], y)
    with pytest.raises(ModelError, match=r"2 columns, but the model 6 outputs"):
        learner.step(x, torch.zeros(8, 2, dtype=torch.float64))
    with pytest.raises(UnknownNameError, match="did you mean backprop"):
        bioplaus.Learner(net, "backpro")
    with pytest.raises(UnsupportedError, match="gaitprop cannot train this model"):
        bioplaus.Learner(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 6)), "gaitprop")
    with pytest.raises(ModelError, match=r"must be an nn\.Module, not Linear"):
        bioplaus.Learner(nn.Linear, "backprop")  # type: ignore[arg-type]
    other = bioplaus.Learner(model(), "gaitprop")
    with pytest.raises(ModelError, match="the state is of backprop"):
        other.load_state_dict(learner.state_dict())
    smaller = bioplaus.Learner(nn.Sequential(nn.Linear(6, 6)), "backprop")
    with pytest.raises(ModelError, match="of another model"):
        smaller.load_state_dict(learner.state_dict())
