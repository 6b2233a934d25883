"""Noise in predictions: drawn by the harness, the same whatever runs beside, and in any batches."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.learning.batching import stacked_initial
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.prediction import (
    PredictionNoise,
    batched_predict,
    positions,
    predicted_alone,
)
from bioplaus.learning.rule import State
from bioplaus.network.network import Network
from bioplaus.network.time import Encode
from bioplaus.network.toml_time import EncodeSpec
from bioplaus.numerics.random_streams import Stream, random_normal, random_words
from bioplaus.rules.backprop import Backprop
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import read_task
from bioplaus.testing.networks import make_network, make_spiking
from bioplaus.training import evaluation
from bioplaus.training.budget import Budget
from bioplaus.training.traced_step import Program
from bioplaus.training.trainer import Splits, Trainer
from tests.helpers.blurred import Blurred
from tests.helpers.networks import get_rule, rel

CPU = torch.device("cpu")
compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")

CASES = {
    "rule": (Blurred(Blurred.Config()), make_network((7, 6, 4), "tanh")),
    "encoder": (get_rule("backprop"), make_spiking()),
}
each_case = pytest.mark.parametrize(("rule", "net"), CASES.values(), ids=CASES)


def examples(net: Network, count: int, name: str) -> Split:
    stream = Stream(0).at("noisy", name)
    x = stream.at("x").uniform((count, *net.in_shape))
    return Split(x, (net.classes * stream.at("y").uniform((count,))).long())


def trained(
    rule: Backprop,
    net: Network,
    seeds: list[int],
    validation: int = 0,
    compile: str = "off",
) -> Trainer:
    budget = Budget(10, 2, OptimizerSpec(name="sgd", lr=0.5), None)
    held_out = examples(net, validation, "validation") if validation else None
    splits = Splits(examples(net, 40, "train"), held_out, examples(net, 60, "test"))
    trainer = Trainer(rule, net, splits, budget, seeds, compile)  # type: ignore[arg-type]
    trainer.train()
    return trainer


def test_several_positions_at_once_are_each_ones_own() -> None:
    keys = torch.stack([Stream(seed).key for seed in (3, 5)])
    at = torch.tensor([4, 2**40 + 1, 0])
    together = random_words(keys[:, None].expand(-1, 3, -1), at, 6)
    normal = random_normal(keys[:, None].expand(-1, 3, -1), at, (2, 3))
    for k, position in enumerate(at.tolist()):
        assert torch.equal(together[:, k], random_words(keys, position, 6))
        assert torch.equal(normal[:, k], random_normal(keys, position, (2, 3)))


def test_splits_have_no_position_in_common() -> None:
    of = {split: positions(70_000, CPU, split) for split in ("train", "validation", "test")}
    assert len(torch.cat(list(of.values())).unique()) == 3 * 70_000


@each_case
def test_an_evaluation_is_the_same_in_any_company(
    rule: Backprop, net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside other seeds, with a validation split, in small batches, and a second time."""
    alone = trained(rule, net, [3])
    noisy = alone.outcomes[0].test_accuracy
    marks = alone._after_epoch._marking.after_epoch(alone.params, alone.state)
    assert [marks["test_accuracy"][0], marks["test_accuracy"][0]] == [noisy[-1]] * 2
    monkeypatch.setattr(evaluation, "_ELEMENTS", 12_000)
    among = trained(rule, net, [0, 3, 1], validation=20)
    assert among.outcomes[1].test_accuracy == noisy
    assert len({outcome.test_accuracy[-1] for outcome in among.outcomes}) > 1


@each_case
def test_an_accuracy_is_that_of_answers_with_the_noise(rule: Backprop, net: Network) -> None:
    trainer, test = trained(rule, net, [3]), examples(net, 60, "test")
    params = {name: tensor[0] for name, tensor in trainer.params.items()}
    answers = predicted_alone(rule, net, params, State({}, {}), test.x, 3)
    right = (answers.argmax(1) == test.y).double().mean().item()
    assert trainer.outcomes[0].test_accuracy[-1] == right
    clean = net.output(params, test.x)
    assert rel(answers, clean) > 0.1  # without the noise it would be another number


def test_the_noise_is_what_the_rule_declared() -> None:
    rule, net = CASES["rule"]
    params, state = stacked_initial(rule, net, [3, 5], torch.float64, CPU)
    x = examples(net, 9, "test").x
    noise = PredictionNoise(rule, net, [3, 5], torch.float64, CPU).each(positions(9, CPU))
    assert noise["blur"].shape == (2, 9, 7)
    output = batched_predict(rule, net)(params, state, x, noise)
    for k in range(2):
        own = {name: tensor[k] for name, tensor in params.items()}
        assert rel(output[k], net.output(own, x + noise["blur"][k])) <= 1e-13
    many = PredictionNoise(rule, net, [3], torch.float64, CPU).each(positions(4000, CPU))["blur"]
    z = many.mean() * many.numel() ** 0.5, (many.square().mean() - 1) * (many.numel() / 2) ** 0.5
    assert abs(z[0]) < 4.5 and abs(z[1]) < 4.5


def test_bernoulli_inputs_of_a_prediction_spike_as_often_as_they_are_large() -> None:
    net = make_spiking()
    encoder = net.layers[0]
    x = examples(net, 2000, "test").x
    noise = PredictionNoise(get_rule("backprop"), net, [0], x.dtype, CPU)
    drawn = noise.each(positions(2000, CPU))["1.uniform"][0]
    spikes = encoder.forward({"uniform": drawn}, x)[0]
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    spread = (x * (1 - x) / 6).sum(0).sqrt()
    assert float(((spikes.mean(1) - x).sum(0) / spread).abs().max()) < 4.5
    quiet = Encode((7,), 6, "bernoulli")
    assert not quiet.in_predictions  # it accumulates, as it always did


@compiler
def test_compiled_and_traced_draws_are_the_eager_ones() -> None:
    net = make_spiking()
    source = PredictionNoise(get_rule("backprop"), net, [3, 5], torch.float32, CPU)

    def draws(at: Tensor) -> tuple[list[Tensor], tuple[str, ...]]:
        return list(source.each(at).values()), ()

    at = positions(11, CPU)
    eager, _ = draws(at)
    for how, compiled in (("traced", False), ("compiled", True)):
        program = Program(draws, lambda graph, tensors, compiled=compiled: compiled)  # type: ignore
        found = program(at)
        assert program.how == how
        for ours, theirs in zip(found, eager, strict=True):
            assert torch.equal(ours, theirs)


def test_other_encoders_have_nothing_to_draw() -> None:
    with pytest.raises(ConfigError, match="in_predictions is for bernoulli"):
        EncodeSpec(how="accumulate", in_predictions=True).at_each_step((7,), 6)


def test_a_task_file_says_whether_predictions_draw() -> None:
    task = read_task("digits-bernoulli")
    assert task.build_network().predicted_uniform_shapes() == {"1.uniform": (20, 64)}
    first = task.network.layers[0]
    quiet = type(first)(how="bernoulli")
    assert not quiet.at_each_step((64,), 20).in_predictions
    said = type(first)(how="bernoulli", in_predictions=False)
    assert said.model_dump(exclude_none=True) == quiet.model_dump(exclude_none=True)  # and its key
