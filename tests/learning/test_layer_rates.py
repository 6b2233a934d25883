"""Layers with learning rates of their own: torch's parameter groups, whatever the optimizer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bioplaus
from bioplaus.benchmark.suite import TuningBudget
from bioplaus.benchmark.tuning import TuningPlan
from bioplaus.errors import ConfigError, UnknownNameError
from bioplaus.experiments.experiment import configure, plan
from bioplaus.learning.layer_rates import check_rates
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.search_space import Around
from bioplaus.network.network import Network
from bioplaus.plugins import registry
from bioplaus.tasks.task import read_task
from bioplaus.testing.networks import NETWORKS
from bioplaus.training.stacked_optimizer import StackedOptimizer
from tests.helpers.faulty_rules import Honest
from tests.helpers.networks import draw

KINDS = [
    {"name": "adam", "weight_decay": 0.1},
    {"name": "adamw", "weight_decay": 0.1},
    {"name": "sgd", "momentum": 0.9},
    {"name": "rmsprop", "momentum": 0.5},
]
RATES = (0.1, 1.0, 3.0)
NAMES = ["1.weight", "1.bias", "2.weight", "3.weight", "head.1"]


def spec_of(kind: dict[str, object], rates: object, lr: float = 1e-2) -> OptimizerSpec:
    return OptimizerSpec.model_validate({**kind, "lr": lr, "layer_rates": rates})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind["name"]))
def test_stacked_steps_are_those_of_torchs_groups(kind: dict[str, object]) -> None:
    """Two replicas with other rates each, a schedule, and a layer that rests in odd steps."""
    specs = [spec_of(kind, RATES), spec_of(kind, [1, 0], lr=3e-3)]
    start = {name: draw(0, name, 2, 4, 3) for name in NAMES}
    stacked = {name: t.clone() for name, t in start.items()}
    ours = StackedOptimizer(specs, stacked)
    for step in range(6):
        ours.scale_rates(0.5**step)
        ours.step([draw(step, n, 2, 4, 3) for n in NAMES], {2} if step % 2 else ())
    multipliers = [[0.1, 0.1, 1.0, 3.0, 1.0], [1.0, 1.0, 0.0, 1.0, 1.0]]
    for replica, spec in enumerate(specs):
        alone = [nn.Parameter(start[n][replica].clone()) for n in NAMES]
        groups = [
            {"params": [p], "lr": spec.lr * m}
            for p, m in zip(alone, multipliers[replica], strict=True)
        ]
        classes = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        classes |= {"sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}
        theirs = classes[spec.name](groups, **spec.settings())
        plan = torch.optim.lr_scheduler.LambdaLR(theirs, lambda n: 0.5**n)
        for step in range(6):
            for name, p in zip(NAMES, alone, strict=True):
                p.grad = draw(step, name, 2, 4, 3)[replica]
            if step % 2:
                alone[2].grad = None
            theirs.step()
            plan.step()
        for name, p in zip(NAMES, alone, strict=True):
            torch.testing.assert_close(stacked[name][replica], p.data, rtol=1e-12, atol=1e-12)


def test_a_gradients_scale_is_no_rate_under_adam_and_a_rate_is() -> None:
    """Adam's first step is lr in each coordinate: so is a tenth of it at a rate of 0.1."""
    moved = []
    for factor, rates in ((0.1, None), (1.0, [0.1])):
        weight = {"1.weight": torch.zeros(1, 3, dtype=torch.float64)}
        grad = factor * torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
        StackedOptimizer([spec_of({"name": "adam"}, rates)], weight).step([grad])
        moved.append(weight["1.weight"].abs().mean().item())
    assert moved[0] == pytest.approx(1e-2, rel=1e-6) and moved[1] == pytest.approx(1e-3, rel=1e-6)


def test_rates_of_one_are_no_rates_and_keys_stay() -> None:
    task = read_task("digits-mlp")
    plain = configure("backprop", task, {}).optimizer
    assert "layer_rates" not in plain.model_dump(mode="json", exclude_none=True)
    for same in ([], [1, 1.0], None):
        assert configure("backprop", task, {"optimizer.layer_rates": same}).optimizer == plain
    short = configure("backprop", task, {"optimizer.layer_rates": [0.1, 1]}).optimizer
    assert short.layer_rates == (0.1,)
    assert configure("backprop", task, {"optimizer.layer_rates.1": 0.1}).optimizer == short
    assert short.updated({"name": "sgd"}).layer_rates == (0.1,)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        (
            "optimizer.layer_rates.9",
            0.1,
            "layer 9 has nothing to learn, or is not there; those that",
        ),
        (
            "optimizer.layer_rates.0",
            0.1,
            "layer_rates.0: a layer is a number from 1, as in layer_rates.2",
        ),
        ("optimizer.layer_rates.top", 0.1, "a layer is a number from 1"),
        ("optimizer.layer_rates.1", -1, "optimizer: layer_rates"),
        ("optimizer.layer_rates", "slow", "optimizer: layer_rates"),
        ("optimizer.layer_rates.1.weight", 0.1, "a layer is a number from 1"),
    ],
)
def test_wrong_rates_are_one_line(setting: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        configure("backprop", read_task("digits-mlp"), {setting: value})
    assert "\n" not in str(caught.value)


def test_a_layer_without_weights_has_no_rate() -> None:
    net = NETWORKS["convolutional"]
    flat = next(l for l, layer in enumerate(net.layers, 1) if not layer.multiply_adds())
    with pytest.raises(ConfigError, match=f"layer {flat} has nothing to learn"):
        check_rates(spec_of({}, [1.0] * (flat - 1) + [0.5]), net)
    with pytest.raises(UnknownNameError, match=r"optimizer.rate\b|'rate'"):
        plan(["backprop"], "digits-mlp", settings={"optimizer.rate": 1})


class SlowTop(Honest):
    """Backprop whose last layer learns at a tenth of the others' rate."""

    name = "slow-top"

    def optimizer_on(self, net: Network) -> OptimizerSpec:
        return OptimizerSpec(lr=1e-2, layer_rates=(*[1.0] * (net.depth - 1), 0.1))


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()


def test_a_learner_takes_the_rates_that_a_rule_recommends() -> None:
    ours, theirs = bioplaus.Learner(model(), SlowTop, loss="mse"), model()
    optimizer = torch.optim.Adam(
        [{"params": theirs[0].parameters()}, {"params": theirs[2].parameters(), "lr": 1e-3}],
        lr=1e-2,
    )
    for step in range(4):
        x, y = draw(step, "x", 7, 4), draw(step, "y", 7, 3)
        ours.step(x, y)
        optimizer.zero_grad()
        (0.5 * (theirs(x) - y) ** 2).sum(1).mean().backward()
        optimizer.step()
    for a, b in zip(ours.model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.data, b.data, rtol=1e-10, atol=1e-12)


def test_feedback_beside_a_layer_learns_at_its_rate() -> None:
    """Kolen-Pollack mirrors weights since both take one step: at any rate of the layer."""
    spec = OptimizerSpec(name="sgd", lr=0.1, layer_rates=(1.0, 0.3))
    learner = bioplaus.Learner(model(), "kolen-pollack", optimizer=spec)
    rates = {id(p): g["lr"] for g in learner.optimizer.param_groups for p in g["params"]}
    assert learner.aux and all(n.startswith("2.") for n in learner.aux)
    assert [rates[id(t)] for t in learner.aux.values()] == pytest.approx([0.03] * len(learner.aux))


def test_tied_layers_have_one_rate() -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    tied[2].weight = tied[0].weight
    with pytest.raises(ConfigError, match=r"1.weight and 2.weight are one tensor"):
        bioplaus.Learner(tied, optimizer=OptimizerSpec(layer_rates=(0.1,)))


def test_a_rate_can_be_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = registry.load("rule", "backprop")
    monkeypatch.setattr(
        cls, "search_space", property(lambda self: {"optimizer.layer_rates.1": Around(1)})
    )
    budget = TuningBudget(trials=2, seeds=1, epochs=1)
    tuning = TuningPlan("backprop", read_task("digits-mlp"), {}, "fp32", budget, "0" * 64)
    assert str(tuning.space["optimizer.layer_rates.1"]) == "log-uniform from 0.1 to 10"
    assert tuning.start == {"optimizer.layer_rates.1": 1.0}
    assert tuning.experiment({"optimizer.layer_rates.1": 0.2}).optimizer.layer_rates == (0.2,)


def test_a_task_has_the_rates_of_its_authors() -> None:
    """Scellier and Bengio 2017: 0.1 and 0.05, 8 times as large in this parametrisation."""
    experiment = configure("backprop", read_task("mnist-equilibrium"), {})
    spec = experiment.optimizer
    assert (spec.name, spec.layer_rates) == ("sgd", (1.0, 0.5))
    assert [spec.lr * spec.rate_of(f"{l}.weight") for l in (1, 2)] == [8 * 0.1, 8 * 0.05]
    assert [layer.out_shape for layer in experiment.network.layers] == [(500,), (10,)]
