"""What rests in a step is left by the optimizer, its moments too, as torch leaves what has no
gradient."""

from __future__ import annotations

import pytest
import torch

from bioplaus.errors import PluginError
from bioplaus.experiments.experiment import configure
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.rule import Resting, RuleConfig
from bioplaus.network.network import Network
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import read_task
from bioplaus.testing.networks import make_network, synthetic
from bioplaus.training.budget import Budget, lesson
from bioplaus.training.progress import Splits
from bioplaus.training.stepper import Compile
from bioplaus.training.trainer import Trainer
from tests.helpers.networks import draw, worst
from tests.helpers.resting import InTurns, by_torch

NET = make_network((6, 5, 5, 4), "tanh", "cross_entropy")
SPECS = [
    OptimizerSpec(name="adam", lr=1e-2, weight_decay=0.1),
    OptimizerSpec(name="adamw", lr=1e-2, weight_decay=0.1),
    OptimizerSpec(name="sgd", lr=0.1, momentum=0.9),
    OptimizerSpec(name="rmsprop", lr=1e-3, momentum=0.5),
]


def trainer(spec: OptimizerSpec, compile: Compile = "off", cls: type[InTurns] = InTurns) -> Trainer:
    train, test = synthetic(NET, 60, "train"), synthetic(NET, 20, "test")
    budget = Budget(10, 2, spec, None)
    splits = Splits(train, None, test)
    return Trainer(cls(RuleConfig()), NET, splits, budget, (0, 3), compile, probe=False)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_training_is_torchs_with_no_gradient_for_what_rests(spec: OptimizerSpec) -> None:
    ours = trainer(spec)
    train, start = ours.splits.train, {n: t.clone() for n, t in ours.params.items()}
    y = torch.nn.functional.one_hot(train.y, NET.classes).double()
    order = torch.cat([ours.batches(1), ours.batches(2)])
    ours.train()
    for replica in (0, 1):
        batches = [(train.x[index[replica]], y[index[replica]]) for index in order]
        theirs = by_torch(NET, {n: t[replica] for n, t in start.items()}, spec, batches)
        assert worst({n: t[replica] for n, t in ours.params.items()}, theirs) <= 1e-10


def test_a_training_goes_on_from_a_snapshot_bit_for_bit() -> None:
    through, first, second = (trainer(SPECS[0]) for _ in range(3))
    order = through.batches(1)
    for step in range(6):
        through.stepper.step(order[step], step, None)
        (first if step < 3 else second).stepper.step(order[step], step, None)
        if step == 2:
            held = {n: t.clone() for n, t in first.stepper.snapshot().items()}
            second.stepper.restore(held)
    assert all(torch.equal(second.params[n], t) for n, t in through.params.items())


def test_moments_stay_with_what_rests() -> None:
    ours = trainer(SPECS[0])
    order = ours.batches(1)
    counts = []
    for step in range(3):
        ours.stepper.step(order[step], step, None)
        kept = ours.stepper.snapshot()
        counts.append([int(kept[f"optimizer/{number}.step"]) for number in range(6)])
    # 1.weight, 1.bias, 2.weight, 2.bias, 3.weight, 3.bias
    assert counts == [[0, 0, 1, 1, 1, 0], [1, 1, 1, 1, 2, 1], [1, 1, 2, 2, 3, 1]]


class Unknown(InTurns):
    name = "unknown"

    def rests(self, net: Network, step: int) -> Resting:
        return Resting(params=frozenset({"1.wieght"}))


class Names(InTurns):
    name = "names"

    def rests(self, net: Network, step: int) -> Resting:
        return {"1.weight"}  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Unknown, r"`rests` names 1.wieght, which is none of its params: 1.weight, 1.bias"),
        (Names, r"`rests` returned .*; return bioplaus.Resting\("),
    ],
)
def test_what_is_not_there_cannot_rest(cls: type[InTurns], said: str) -> None:
    with pytest.raises(PluginError, match=said):
        trainer(SPECS[0], cls=cls).train()


@pytest.mark.parametrize("feedback", ["transpose", "updated"])
def test_greedy_layers_rest_under_adam(feedback: str) -> None:
    """After its turn a layer has the bits that it had; before it, those that it started with."""
    task = read_task("digits-views").updated({"batch_size": 10})
    options = {"schedule": "greedy", "steps_per_layer": 2, "feedback": feedback}
    experiment = configure("layerwise-ssl", task, options)
    assert experiment.optimizer.name == "adam" and experiment.rule.version == 2
    net = experiment.network
    train = Split(draw(0, "x", 40, *net.in_shape).double(), torch.arange(40) % 10)
    budget = Budget(10, 1, experiment.optimizer, experiment.aux_optimizer, lesson(experiment.task))
    ours = Trainer(experiment.rule, net, Splits(train, None, train), budget, (0, 1), probe=False)
    before: dict[str, torch.Tensor] = {}
    moved = []
    for step in range(4):
        held = {**ours.params, **{f"aux {n}": t for n, t in ours.state.aux.items()}}
        before = {n: t.clone() for n, t in held.items()}
        ours.stepper.step(ours.batches(1)[step], step, None)
        moved.append({n for n, t in held.items() if not torch.equal(t, before[n])})
    lower = {"1.weight", "1.bias", "aux head.1"}
    upper = {n for n in ours.params if n[0] != "1"}
    if feedback == "updated":
        lower, upper = lower | {"aux feedback.1"}, upper | {"aux feedback.2"}
    assert moved == [lower, lower, upper, upper]
