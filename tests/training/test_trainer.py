"""The harness against a plain torch loop, and what it promises of seeds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from bioplaus.learning.batching import Rule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.learning.profile import Citation, Plausibility
from bioplaus.learning.rule import Batch, LearningRule, NoiseSpec, RuleConfig, State, Update
from bioplaus.network.activations import parse_activation
from bioplaus.network.layer import Dense, Params
from bioplaus.network.losses import get_loss
from bioplaus.network.network import Network
from bioplaus.numerics.random_streams import Stream
from bioplaus.plugins.registry import load
from bioplaus.tasks.dataset import Split
from bioplaus.training.progress import Progress, Splits
from bioplaus.training.seed_outcome import Outcome
from bioplaus.training.trainer import Budget, Trainer

ADAM = OptimizerSpec(name="adam", lr=1e-2)


def examples(name: str, count: int) -> Split:
    stream = Stream(0).at("synthetic", name)
    labels = (stream.at("y").uniform((count,)) * 3).long()
    x = stream.at("x").normal((count, 6)) + labels[:, None]
    return Split(x, labels)


def network() -> Network:
    leaky = parse_activation("leaky_relu(0.1)")
    layers = tuple(Dense(6, 6, leaky) for _ in range(3))
    return Network(layers, get_loss("mse"), classes=3)


def trainer(rule: Rule, seeds: Sequence[int], epochs: int = 3, dtype: torch.dtype = torch.float64,
            optimizer: OptimizerSpec = ADAM) -> Trainer:  # fmt: skip
    def cast(split: Split) -> Split:
        return Split(split.x.to(dtype), split.y)

    splits = Splits(cast(examples("train", 45)), None, cast(examples("test", 20)))
    return Trainer(rule, network(), splits, Budget(10, epochs, optimizer, optimizer), seeds)


def get(name: str) -> Rule:
    rule: Rule = load("rule", name).configured()
    return rule


def test_backprop_is_the_plain_torch_loop() -> None:
    """Same start, same batches: the same trajectory as autograd and Adam, seed by seed."""
    seeds = [0, 3]
    ours = trainer(get("backprop"), seeds)
    starts = [{k: v[i].clone() for k, v in ours.params.items()} for i in range(2)]
    orders = [torch.stack(list(ours.batches(epoch))) for epoch in (1, 2, 3)]
    outcomes = ours.train()
    train, test = ours.splits.train, ours.splits.test
    assert test is not None
    for i, start in enumerate(starts):
        model = nn.Sequential(*(m for _ in range(3) for m in (nn.Linear(6, 6), nn.LeakyReLU(0.1))))
        model.double()
        linear = [m for m in model if isinstance(m, nn.Linear)]
        for l, layer in enumerate(linear, start=1):
            layer.load_state_dict({k: start[f"{l}.{k}"] for k in ("weight", "bias")})
        adam = torch.optim.Adam(model.parameters(), lr=1e-2)
        for batches in orders:
            for index in batches[:, i]:
                output = model(train.x[index])[:, :3]
                target = torch.eye(3, dtype=torch.float64)[train.y[index]]
                adam.zero_grad()
                (0.5 * (output - target).square().sum(1).mean()).backward()
                adam.step()
        for l, layer in enumerate(linear, start=1):
            assert torch.allclose(outcomes[i].params[f"{l}.weight"], layer.weight, atol=1e-12)
            assert torch.allclose(outcomes[i].params[f"{l}.bias"], layer.bias, atol=1e-12)
        right = (model(test.x)[:, :3].argmax(1) == test.y).double().mean()
        assert outcomes[i].test_accuracy[-1] == pytest.approx(float(right))


def test_each_epoch_sees_each_example_at_most_once_in_an_order_of_its_own() -> None:
    both = trainer(get("backprop"), [0, 1])
    first, second = both.batches(1), both.batches(2)
    assert first.shape == (4, 2, 10)
    for order in (first[:, 0], first[:, 1], second[:, 0]):
        assert len(set(order.flatten().tolist())) == 40
    assert not torch.equal(first[:, 0], first[:, 1])
    assert not torch.equal(first[:, 0], second[:, 0])


def test_start_and_order_depend_on_the_seed_alone() -> None:
    alone = trainer(get("gaitprop"), [4])
    among = trainer(get("backprop"), [2, 4, 9])
    for name, tensor in alone.params.items():
        assert torch.equal(tensor[0], among.params[name][1])
    assert torch.equal(alone.batches(3)[:, 0], among.batches(3)[:, 1])


def test_no_validation_split_is_null() -> None:
    outcome = trainer(get("backprop"), [0]).train()[0]
    assert outcome.validation_accuracy == [None] * 3
    assert all(a is not None for a in outcome.test_accuracy)


def test_backprop_aligns_with_the_gradient_exactly() -> None:
    outcome = trainer(get("backprop"), [0, 1]).train()[1]
    curves = outcome.alignment["loss"]
    assert sorted(curves) == [f"{k}.{l}" for k in ("cosine", "norm_ratio") for l in (1, 2, 3)]
    assert all(v == pytest.approx(1, abs=1e-12) for curve in curves.values() for v in curve)


def test_progress_is_told_at_the_end_of_each_epoch_at_least() -> None:
    seen: list[Progress] = []
    trainer(get("backprop"), [0]).train(seen.append)
    steps = [p.step for p in seen]
    assert steps == sorted(set(steps)) and {4, 8, 12} <= set(steps)
    assert {p.steps for p in seen} == {12}
    assert seen[0].loss is None and seen[-1].loss is not None


class Probe(LearningRule[RuleConfig]):
    """Backprop by autograd, but for what a test plants in it."""

    name = "probe"
    citation = Citation(authors="-", title="-", year=2026)

    @property
    def plausibility(self) -> Plausibility:
        return get("backprop").plausibility

    def noise(self, net: Network, batch_size: int) -> dict[str, NoiseSpec]:
        return {"n": NoiseSpec((2,))}

    def init_state(self, net: Network, params: dict[str, Tensor], stream: Stream) -> State:
        return State({"b": stream.normal((2,))}, {"m": torch.zeros(2, dtype=torch.float64)})

    def update(
        self,
        net: Network,
        params: dict[str, Tensor],
        state: State,
        batch: Batch,
        noise: dict[str, Tensor],
    ) -> Update:
        grads = torch.func.grad(lambda p: net.mean_loss(p, batch.x, batch.y))(params)
        loss = net.mean_loss(params, batch.x, batch.y)
        memory = {"m": state.memory["m"] + noise["n"]}
        return Update(grads, {}, {"b": state.aux["b"]}, memory, {"loss": loss})


def probe() -> Rule:
    return Probe(RuleConfig())


def test_memory_noise_and_auxiliary_parameters_go_through_the_loop() -> None:
    run = trainer(probe(), [0, 5], epochs=1, optimizer=OptimizerSpec(name="sgd", lr=0.5))
    start = run.state.aux["b"].clone()
    run.train()
    drawn = sum(run.stepper.noise.at(step)["n"] for step in range(4))
    assert torch.allclose(run.state.memory["m"], torch.as_tensor(drawn), atol=1e-14)
    # gradient b with rate 1/2: halved at each of four steps
    assert torch.allclose(run.state.aux["b"], start / 16, atol=1e-14)


def test_refresh_is_called_for_each_replica_every_so_many_steps() -> None:
    calls: list[float] = []

    class Refreshing(Probe):
        refresh_every = 2

        def refresh(
            self,
            net: Network,
            params: dict[str, Tensor],
            state: State,
            batch: Batch,
            stream: Stream,
        ) -> State:
            calls.append(float(stream.uniform((1,))))
            return State({"b": state.aux["b"] * 0}, {"m": state.memory["m"] * 0 + 7})

    run = trainer(Refreshing(RuleConfig()), [0, 5], epochs=1)
    run.train()
    assert len(calls) == len(set(calls)) == 4
    assert torch.equal(run.state.aux["b"], torch.zeros(2, 2, dtype=torch.float64))
    drawn = run.stepper.noise.at(2)["n"] + run.stepper.noise.at(3)["n"]
    assert torch.allclose(run.state.memory["m"], 7 + drawn, atol=1e-14)


@pytest.mark.parametrize("field", ["grads", "penalty", "aux_grads"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_strides_of_what_a_rule_returns_do_not_matter(optimizer: str, field: str) -> None:
    def padded(t: Tensor) -> Tensor:
        return torch.cat([t, t[..., :1]], dim=-1)[..., :-1]

    class Mirrored(load("rule", "backprop")):  # type: ignore[misc]
        """Backprop whose auxiliary gradients, and penalty, are its gradients."""

        strided = False

        def init_state(self, net: Network, params: Params, stream: Stream) -> State:
            return State(aux=dict(params), memory={})

        def update(self, *args: object) -> Update:
            grads = super().update(*args).grads
            penalty = grads if field == "penalty" else {}
            update = super().update(*args)._replace(penalty=penalty, aux_grads=grads)
            if not self.strided:
                return update
            return update._replace(**{field: {k: padded(g) for k, g in grads.items()}})

    class Strided(Mirrored):
        strided = True

    runs = [
        trainer(kind.configured(), [0, 3], optimizer=OptimizerSpec(name=optimizer, lr=1e-2))
        for kind in (Mirrored, Strided)
    ]
    for run in runs:
        run.train()
    plain, strided = runs
    for name in plain.params:
        assert torch.equal(plain.params[name], strided.params[name])
        assert torch.equal(plain.state.aux[name], strided.state.aux[name])


def test_a_replica_that_diverges_is_noted_and_the_others_go_on() -> None:
    alone = trainer(get("gaitprop"), [1]).train()[0]
    both = trainer(get("gaitprop"), [0, 1])
    both.params["2.weight"][0] = 0.0  # singular: GAIT-prop inverts it
    lost, other = both.train()
    assert lost.diverged_epoch == 1
    assert lost.test_accuracy == [None] * 3
    assert other.diverged_epoch is None
    for name, tensor in alone.params.items():
        assert torch.allclose(other.params[name], tensor, rtol=1e-10, atol=1e-12)


def test_training_ends_when_no_replica_is_left() -> None:
    run = trainer(get("backprop"), [0, 1])
    run.params["1.weight"][:] = float("nan")
    outcomes: list[Outcome] = run.train()
    assert [len(o.test_accuracy) for o in outcomes] == [1, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_seed_means_the_same_on_cuda() -> None:
    rule = get("gaitprop")
    cpu = trainer(rule, [0, 1])
    splits = Splits(Split(cpu.splits.train.x.cuda(), cpu.splits.train.y.cuda()), None, None)
    gpu = Trainer(rule, network(), splits, cpu.budget, [0, 1])
    for ours, theirs in zip(gpu.train(), cpu.train(), strict=True):
        for name, tensor in theirs.params.items():
            assert torch.allclose(ours.params[name], tensor, rtol=1e-8, atol=1e-10)
