"""`bioplaus.alignment`: a rule's update beside the gradient, as a tidy table and a plot."""

from __future__ import annotations

import builtins
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bioplaus
from bioplaus.errors import BioplausError, ModelError

COLUMNS = ["layer", "reference", "cosine", "angle", "norm_ratio", "sign_agreement"]


def model() -> nn.Sequential:
    torch.manual_seed(0)
    parts = (nn.Conv2d(1, 4, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))
    return nn.Sequential(*parts).double()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(7, 1, 6, 6, generator=generator, dtype=torch.float64)
    return x, torch.arange(7) % 5


def test_backprop_is_the_gradient() -> None:
    frame = bioplaus.alignment(model(), *batch(), "backprop")
    assert list(frame.columns) == COLUMNS
    assert frame["layer"].tolist() == [1, 4]  # the pool and the flatten between have no weights
    assert set(frame["reference"]) == {"loss"}
    assert frame["cosine"].tolist() == pytest.approx([1, 1], abs=1e-12)
    assert frame["norm_ratio"].tolist() == pytest.approx([1, 1], abs=1e-12)
    assert frame["sign_agreement"].tolist() == [1, 1]
    assert frame["angle"].max() < 1e-5


def test_numbers_are_those_of_the_gradients_written_out() -> None:
    net, (x, y) = model(), batch()
    frame = bioplaus.alignment(net, x, y, "feedback-alignment", loss="cross_entropy", seed=2)
    bioplaus.backward(net, x, y, rule="feedback-alignment", loss="cross_entropy", seed=2)
    theirs = torch.autograd.grad(F.cross_entropy(net(x), y), list(net[0].parameters()))
    update = torch.cat([p.grad.flatten() for p in net[0].parameters()])
    gradient = torch.cat([g.flatten() for g in theirs])
    cosine = float(F.cosine_similarity(update, gradient, dim=0))
    row = frame[frame["layer"] == 1].iloc[0]
    assert row["cosine"] == pytest.approx(cosine)
    assert row["angle"] == pytest.approx(math.degrees(math.acos(cosine)))
    assert row["norm_ratio"] == pytest.approx(float(update.norm() / gradient.norm()))
    assert row["sign_agreement"] == float((update.sign() == gradient.sign()).double().mean())
    last = frame[frame["layer"] == 4].iloc[0]
    assert last["cosine"] == pytest.approx(1)  # the output layer needs no feedback


def test_nothing_changes_and_a_learners_state_is_used() -> None:
    net, (x, y) = model(), batch()
    learner = bioplaus.Learner(
        net, "kolen-pollack", input_shape=(1, 6, 6), optimizer=bioplaus.OptimizerSpec(
            name="sgd", lr=0.5, weight_decay=0.5)
    )  # fmt: skip
    at_first = bioplaus.alignment(net, x, y, learner)
    before = {k: v.clone() for k, v in learner.aux.items()}
    for _ in range(60):
        learner.step(x, y)
    middle = {k: v.clone() for k, v in learner.aux.items()}
    later = bioplaus.alignment(net, x, y, learner)
    assert all(torch.equal(learner.aux[k], middle[k]) for k in middle)
    assert any(not torch.equal(before[k], middle[k]) for k in middle)
    # W - B shrinks by 1 - lr decay = 0.75 at each step: by now B is W
    assert at_first["cosine"].iloc[0] < 0.9
    assert later["cosine"].iloc[0] == pytest.approx(1, abs=1e-6)
    with pytest.raises(ModelError, match="of another model"):
        bioplaus.alignment(model(), x, y, learner)


def test_a_rule_with_an_objective_of_its_own_has_rows_for_it() -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 4), nn.Sigmoid()).double()
    x, y = torch.randn(5, 6, dtype=torch.float64), torch.arange(5) % 4
    for rule in bioplaus.list_rules():
        try:
            frame = bioplaus.alignment(net, x, y, rule)
        except bioplaus.BioplausError:
            continue
        references = set(frame["reference"])
        assert references <= {"loss", "objective"} and "loss" in references


def test_a_plot_has_a_bar_for_each_layer() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    frame = bioplaus.alignment(model(), *batch(), "feedback-alignment")
    axes = bioplaus.plot_alignment(frame)
    heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
    assert heights == pytest.approx(frame["angle"].tolist())
    again = bioplaus.plot_alignment(frame, axes)
    assert again is axes
    matplotlib.pyplot.close("all")


def test_without_matplotlib_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BioplausError, match="pip install 'bioplaus"):
        bioplaus.plot_alignment(bioplaus.alignment(model(), *batch(), "backprop"))
