"""Batch normalisation in task files: torch's weights, running statistics and answers, in a loop."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioplaus.experiments.experiment import configure
from bioplaus.learning.prediction import predicted_alone
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.task import read_task
from bioplaus.training.budget import budget
from bioplaus.training.groups import prepared
from bioplaus.training.stepper import Compile
from bioplaus.training.trainer import Trainer
from tests.helpers.networks import rel
from tests.helpers.normed import CONV, DENSE, EPOCHS, HEAD, NODES

CPU = torch.device("cpu")


class Dense(nn.Module):
    """`DENSE` in torch's modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 12), nn.Linear(12, 8), nn.Linear(8, 10)
        self.norms = nn.ModuleList([nn.BatchNorm1d(12), nn.BatchNorm1d(8, momentum=0.3)])

    def forward(self, x: Tensor, drawn: Tensor | None = None) -> Tensor:
        h = torch.tanh(self.norms[0](self.first(x)))
        if drawn is not None:
            h = h * (drawn >= 0.25) / 0.75
        out: Tensor = self.last(self.norms[1](self.second(h)))
        return out

    def layers(self) -> Iterator[nn.Module]:
        yield from (self.first, self.norms[0], self.second, self.norms[1], self.last)


class Conv(nn.Module):
    """`CONV` in torch's modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, stride=2, padding=1)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])
        self.last = nn.Linear(48, 10)

    def forward(self, x: Tensor, drawn: Tensor | None = None) -> Tensor:
        h = F.leaky_relu(self.norms[0](self.first(x)), 0.1)
        h = h + torch.tanh(self.norms[1](self.second(h)))
        out: Tensor = self.last(h.flatten(1))
        return out

    def layers(self) -> Iterator[nn.Module]:
        yield from (self.first, self.norms[0], self.second, self.norms[1], self.last)


MODELS: dict[str, tuple[str, Callable[[], Dense | Conv]]] = {
    "dense": (DENSE, Dense),
    "conv": (CONV, Conv),
    "nodes": (NODES, Conv),
}
NAMES = {"weight": "gain", "bias": "shift"}


def trained(
    path: Path,
    layers: str,
    seeds: list[int],
    rule: str = "backprop",
    compile: Compile = "off",
    epochs: int = EPOCHS,
) -> Trainer:
    path.write_text(HEAD + layers)
    task = read_task(str(path)).updated({"epochs": epochs})
    experiment = configure(rule, task, {}, "fp64")
    splits = prepared(experiment, task.load_data(), CPU)
    chosen = experiment.rule, experiment.network, splits, budget(experiment), seeds
    trainer = Trainer(*chosen, compile, probe=False, measured="off")
    trainer.train()
    return trainer


def matched(model: Dense | Conv, names: list[str]) -> dict[str, Tensor]:
    """The model's tensors by the network's names, of which each layer's stand together."""
    numbers = list(dict.fromkeys(name.partition(".")[0] for name in names))
    found = {}
    for l, module in zip(sorted(numbers, key=int), model.layers(), strict=True):
        normed = isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        for name, tensor in module.state_dict(keep_vars=True).items():
            if name != "num_batches_tracked":
                found[f"{l}.{NAMES.get(name, name) if normed else name}"] = tensor
    return found


@pytest.mark.parametrize("name", MODELS)
def test_training_is_torchs_own_loop(name: str, tmp_path: Path) -> None:
    layers, build = MODELS[name]
    trainer = trained(tmp_path / "t.toml", layers, [0, 3])
    net, splits = trainer.net, trainer.splits
    assert splits.test is not None
    for index, outcome in enumerate(trainer.outcomes):
        model = build().double()
        tensors = matched(model, list(outcome.params))
        assert tensors.keys() == outcome.params.keys()
        start = trainer_start(trainer, outcome.seed)
        with torch.no_grad():
            for which, tensor in tensors.items():
                if which in start:
                    tensor.copy_(start[which].reshape(tensor.shape))
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
        step = 0
        for epoch in range(1, EPOCHS + 1):
            for batch in trainer.batches(epoch)[:, index]:
                drawn = trainer.stepper.noise.at(step).get("3.uniform")
                output = model(splits.train.x[batch], None if drawn is None else drawn[index])
                optimizer.zero_grad()
                F.cross_entropy(output, splits.train.y[batch]).backward()
                optimizer.step()
                step += 1
        assert step == 9
        for which, tensor in tensors.items():
            ours = outcome.params[which]
            theirs = tensor.detach().reshape(ours.shape)
            # a bias below a normalisation has the gradient 0, and rounding errors in its place
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12, msg=which)
        model.eval()
        with torch.no_grad():
            answers = model(splits.test.x)
        ours = predicted_alone(
            trainer.stepper.rule, net, outcome.params, outcome.state, splits.test.x, outcome.seed
        )
        assert rel(ours, answers) <= 1e-10
        right = (answers.argmax(1) == splits.test.y).double().mean()
        assert outcome.test_accuracy[-1] == pytest.approx(float(right), abs=1e-12)


def trainer_start(trainer: Trainer, seed: int) -> dict[str, Tensor]:
    """The seed's weights before the first step."""
    return trainer.net.init(Stream(seed).at("parameters"))


@pytest.mark.parametrize("rule", ["feedback-alignment", "kolen-pollack", "weight-mirror"])
def test_several_seeds_are_each_as_alone(rule: str, tmp_path: Path) -> None:
    """Of rules with memory, with auxiliary parameters, and with work outside the step."""
    among = trained(tmp_path / "t.toml", DENSE, [0, 3, 5], rule, epochs=1)
    for index, outcome in enumerate(among.outcomes[:2]):
        alone = trained(tmp_path / "t.toml", DENSE, [outcome.seed], rule, epochs=1)
        assert alone.params.keys() == among.params.keys()
        for name, tensor in alone.params.items():
            torch.testing.assert_close(
                among.params[name][index], tensor[0], rtol=1e-10, atol=1e-12, msg=name
            )
        assert alone.outcomes[0].test_accuracy == outcome.test_accuracy


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_training_is_the_traced_one(tmp_path: Path) -> None:
    traced = trained(tmp_path / "t.toml", DENSE, [0, 3], epochs=1)
    compiled = trained(tmp_path / "t.toml", DENSE, [0, 3], compile="on", epochs=1)
    assert [(p.how, p.why) for p in compiled.stepper.programs] == [("compiled", "")]
    for name, tensor in traced.params.items():
        torch.testing.assert_close(compiled.params[name], tensor, rtol=1e-10, atol=1e-12, msg=name)
