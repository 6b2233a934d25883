"""What every registered rule must do. A new rule is tested here by being registered.

Each rule runs as configured by default, and once more for every other choice of each of
its options that has choices, on every small network below that it supports.
"""

from __future__ import annotations

import types
import typing
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import pytest
import torch
from _networks import (
    EXACT,
    make_convolutional,
    make_network,
    random_batch,
    random_params,
    rel,
    worst,
)
from pydantic import ValidationError
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from bioplaus import registry
from bioplaus.dataset import Split
from bioplaus.errors import BioplausError, UnknownNameError
from bioplaus.layers import Params
from bioplaus.network import Network
from bioplaus.optim import OptimizerSpec
from bioplaus.profile import Citation, Plausibility
from bioplaus.replicas import (
    NoiseSource,
    Rule,
    batched_predict,
    batched_update,
    cast,
    unstack,
)
from bioplaus.rule import Batch, LearningRule, RuleConfig, State, Update
from bioplaus.streams import Stream
from bioplaus.trainer import Budget, Outcome, Splits, Trainer

RULES = registry.names("rule")
NETWORKS = {
    "square": make_network((6, 6, 6, 6), "leaky_relu(0.1)", "mse", classes=4),
    "rectangular": make_network((7, 6, 5, 4), "tanh", "cross_entropy"),
    "sigmoid": make_network((7, 6, 5, 4), "sigmoid", "mse"),
    "tower": make_network((8, 8, 6, 4), "leaky_relu(0.1)", "mse", kind="tower"),
    "convolutional": make_convolutional(),
}
CPU = torch.device("cpu")
BATCH = 5
REPLICAS = 3


@dataclass(frozen=True)
class Case:
    """One rule under one configuration on one network."""

    name: str
    network: str
    options: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.options.items()), self.network])

    @property
    def rule(self) -> Rule:
        rule: Rule = registry.load("rule", self.name).configured(self.options)
        return rule

    @property
    def net(self) -> Network:
        return NETWORKS[self.network]


def choices(annotation: object) -> tuple[object, ...]:
    """The values of an option that has a few."""
    if annotation is bool:
        return (False, True)
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(c for part in typing.get_args(annotation) for c in choices(part))
    return ()


def variants(name: str) -> list[dict[str, object]]:
    """The default configuration, and each with one option changed to another choice."""
    found: list[dict[str, object]] = [{}]
    for option, info in registry.load("rule", name).Config.model_fields.items():
        found += [{option: c} for c in choices(info.annotation) if c != info.default]
    return found


def cases() -> list[Case]:
    found = []
    for name in RULES:
        try:
            for options in variants(name):
                candidates = [Case(name, network, options) for network in NETWORKS]
                found += [case for case in candidates if case.rule.supports(case.net) is None]
        except BioplausError:
            found.append(Case(name, "square"))  # broken: let its tests say so
    return found


CASES = cases()
DEFAULTS = list({case.name: case for case in reversed(CASES) if not case.options}.values())
"""Each rule by default, on the first network that it supports."""

FIRST = list({(c.name, *c.options.items()): c for c in reversed(CASES)}.values())
"""Each rule under each configuration, on the first network that it supports."""

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_configuration = pytest.mark.parametrize("case", FIRST, ids=str)
every_default = pytest.mark.parametrize("case", DEFAULTS, ids=str)
every_rule = pytest.mark.parametrize("name", RULES)

Inputs = tuple[Params, State, Batch, Params]


def inputs(case: Case, seed: int, dtype: torch.dtype = torch.float64) -> Inputs:
    """All that an update takes; weights near orthogonal, so that an inverse is harmless."""
    params = random_params(case.net, seed)
    for name, tensor in params.items():
        tensor += 0.1 * Stream(seed).at("nudge", name).normal(tensor.shape)
    state = case.rule.init_state(case.net, params, Stream(seed).at("state"))
    batch = random_batch(case.net, BATCH, seed)
    noise = NoiseSource(case.rule.noise(case.net, BATCH), [seed], torch.float64, CPU).at(0)
    return (
        cast(params, dtype, CPU),
        State(cast(state.aux, dtype, CPU), cast(state.memory, dtype, CPU)),
        Batch(*(tensor.to(dtype) for tensor in batch)),
        cast(unstack(noise, 0), dtype, CPU),
    )


def update(case: Case, given: Inputs) -> Update:
    return case.rule.update(case.net, *given)


def stacked(parts: list[Inputs]) -> Inputs:
    return pytree.tree_map(lambda *tensors: torch.stack(tensors), *parts)


def replica(tree: typing.Any, index: int) -> typing.Any:
    return pytree.tree_map(lambda tensor: tensor[index], tree)


def rounded(given: Inputs) -> Inputs:
    """The parameters moved by about one unit in the last place."""
    params = {name: tensor * (1 + 2**-52) for name, tensor in given[0].items()}
    return (params, *given[1:])


def identical(a: object, b: object) -> bool:
    """The same tensors under the same names, bit for bit; NaN equals NaN."""
    (left, left_spec), (right, right_spec) = pytree.tree_flatten(a), pytree.tree_flatten(b)
    same = (torch.equal(x.nan_to_num(7), y.nan_to_num(7)) for x, y in zip(left, right, strict=True))
    nans = (torch.equal(x.isnan(), y.isnan()) for x, y in zip(left, right, strict=True))
    return left_spec == right_spec and all(same) and all(nans)


def distance(a: Update, b: Update) -> float:
    """The largest relative difference of any tensor of two updates; of metrics, below 1
    absolute: one that tells how far a relaxation got may be rounding and nothing else."""
    assert a.metrics.keys() == b.metrics.keys()
    pairs = ((float(a.metrics[name]), float(b.metrics[name])) for name in b.metrics)
    found = [abs(x - y) / max(1.0, abs(y)) for x, y in pairs]
    tensors = (name for name in Update._fields if name != "metrics")
    found += [worst(getattr(a, name), getattr(b, name)) for name in tensors]
    return max(float("inf") if d != d else d for d in found)


@contextmanager
def slow_fallbacks_raise() -> Iterator[None]:
    """Raise where vmap has no batching rule for an operation and loops over replicas."""
    torch._C._functorch._set_vmap_fallback_warning_enabled(True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*performance drop.*")
        yield


# The class


@every_rule
def test_class_says_what_it_is(name: str) -> None:
    rule = registry.load("rule", name)
    assert issubclass(rule, LearningRule)
    assert rule.name == name
    summary = (rule.__doc__ or "").partition("\n")[0]
    assert summary.endswith(".")
    assert registry.plugins("rule")[name].summary() == summary
    assert isinstance(rule.version, int)
    assert rule.version >= 1


@every_rule
def test_citation_is_filled(name: str) -> None:
    citation = registry.load("rule", name).citation
    assert isinstance(citation, Citation)
    assert citation.authors
    assert citation.title
    assert citation.venue or citation.identifier
    assert 1900 < citation.year < 2100
    assert str(citation.year) in str(citation)


@every_rule
def test_plausibility_is_filled_under_every_configuration(name: str) -> None:
    for options in variants(name):
        plausibility = registry.load("rule", name).configured(options).plausibility
        assert isinstance(plausibility, Plausibility)
        assert Plausibility.model_validate(plausibility.model_dump()) == plausibility
        assert plausibility.phases
        assert plausibility.auxiliary


@every_rule
def test_configuration_survives_a_round_trip(name: str) -> None:
    for options in variants(name):
        config = registry.load("rule", name).configured(options).config
        assert isinstance(config, RuleConfig)
        assert type(config).model_validate(config.model_dump()) == config
        assert type(config).model_validate_json(config.model_dump_json()) == config


@every_rule
def test_every_option_has_a_default_and_a_description(name: str) -> None:
    for option, info in registry.load("rule", name).Config.model_fields.items():
        assert info.description, option
        assert not info.is_required(), option


@every_rule
def test_an_option_that_does_not_exist_is_refused(name: str) -> None:
    rule = registry.load("rule", name)
    with pytest.raises(UnknownNameError, match="no_such_option"):
        rule.configured({"no_such_option": 1})
    with pytest.raises(ValidationError):
        rule.Config.model_validate({"no_such_option": 1})


@every_rule
def test_configuration_is_frozen(name: str) -> None:
    config = registry.load("rule", name).configured().config
    for option in type(config).model_fields:
        with pytest.raises(ValidationError):
            setattr(config, option, getattr(config, option))


@every_rule
def test_optimizers_are_named_as_data(name: str) -> None:
    rule = registry.load("rule", name).configured()
    assert rule.optimizer is None or isinstance(rule.optimizer, OptimizerSpec)
    own = rule.aux_optimizer
    assert own in ("same", None) or isinstance(own, OptimizerSpec)


@every_rule
def test_supports_some_network_and_says_why_not_the_others(name: str) -> None:
    for options in variants(name):
        rule = registry.load("rule", name).configured(options)
        reasons = [rule.supports(net) for net in NETWORKS.values()]
        assert None in reasons, f"{options}: add a network to this file that it supports"
        assert "" not in reasons


# The update


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@every_case
def test_update_matches_what_it_updates(case: Case, dtype: torch.dtype) -> None:
    given = inputs(case, 0, dtype)
    params, state = given[:2]
    result = update(case, given)
    assert isinstance(result, Update)
    due = [
        (result.grads, params),
        (result.penalty, {name: params[name] for name in result.penalty}),
        (result.aux_grads, state.aux),
        (result.memory, state.memory),
    ]
    for found, expected in due:
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            assert tensor.shape == expected[name].shape
            assert tensor.dtype == expected[name].dtype
            assert tensor.isfinite().all()
    assert "loss" in result.metrics
    for metric in result.metrics.values():
        assert metric.shape == ()
        assert metric.isfinite()


@every_case
def test_some_update_reaches_every_layer(case: Case) -> None:
    grads = update(case, inputs(case, 0)).grads
    assert all(grad.any() for grad in grads.values())


@every_case
def test_update_is_pure(case: Case) -> None:
    given = inputs(case, 0)
    before = pytree.tree_map(torch.clone, given)
    torch.manual_seed(0)
    generator = torch.get_rng_state()
    first = pytree.tree_map(torch.clone, update(case, given))
    assert identical(given, before)
    assert torch.equal(torch.get_rng_state(), generator)
    torch.manual_seed(1)
    assert identical(update(case, given), first)


@every_case
def test_vmap_over_replicas_is_a_loop_over_networks(case: Case) -> None:
    parts = [inputs(case, seed) for seed in range(REPLICAS)]
    with slow_fallbacks_raise():
        together = batched_update(case.rule, case.net)(*stacked(parts))
    for index, part in enumerate(parts):
        alone = update(case, part)
        tolerance = EXACT
        if case.options:  # a choice that multiplies rounding errors is held to what it can do
            tolerance = max(EXACT, 10 * distance(update(case, rounded(part)), alone))
        assert distance(replica(together, index), alone) <= tolerance


@every_case
def test_prediction_has_the_shape_of_the_output_and_takes_vmap(case: Case) -> None:
    parts = [inputs(case, seed) for seed in range(REPLICAS)]
    params, state, batch, _ = stacked(parts)
    x = batch.x[0]
    with slow_fallbacks_raise():
        together = batched_predict(case.rule, case.net)(params, state, x)
    assert together.shape == (REPLICAS, BATCH, *case.net.layers[-1].out_shape)
    for index, part in enumerate(parts):
        alone = case.rule.predict(case.net, part[0], part[1], x)
        assert rel(together[index], alone) <= EXACT


def test_a_slow_fallback_does_raise() -> None:
    pooled = torch.zeros(2, 1, 1, 2, 2)
    indices = torch.zeros(2, 1, 1, 2, 2, dtype=torch.int64)
    with slow_fallbacks_raise(), pytest.raises(UserWarning, match="performance drop"):
        torch.vmap(lambda a, i: torch.nn.functional.max_unpool2d(a, i, 2))(pooled, indices)


@pytest.mark.parametrize("poison", [float("nan"), 0.0])
@every_case
def test_a_broken_replica_leaves_the_others_alone(case: Case, poison: float) -> None:
    given = stacked([inputs(case, seed) for seed in range(REPLICAS)])
    step = batched_update(case.rule, case.net)
    clean = step(*given)
    for tensor in given[0].values():
        tensor[1] = poison
    broken = step(*given)
    for index in (0, 2):
        assert identical(replica(broken, index), replica(clean, index))
    assert not identical(replica(broken, 1), replica(clean, 1))


@every_default
@pytest.mark.parametrize("seed", range(10))
def test_float32_agrees_with_float64(case: Case, seed: int) -> None:
    single = update(case, inputs(case, seed, torch.float32))
    assert distance(single, update(case, inputs(case, seed))) <= 1e-4


@every_configuration
def test_a_trace_of_the_update_replays_bit_for_bit(case: Case) -> None:
    first, second = (
        stacked([inputs(case, seed) for seed in seeds]) for seeds in ((0, 1, 2), (3, 4, 5))
    )
    step = batched_update(case.rule, case.net)
    traced = make_fx(step)(*first)
    for given in (first, second):
        assert identical(traced(*given), step(*given))


@every_case
def test_refresh_keeps_the_names_and_shapes_of_the_state(case: Case) -> None:
    params, state, batch, _ = inputs(case, 0)
    fresh = case.rule.refresh(case.net, params, state, batch, Stream(0).at("refresh"))
    shapes = pytree.tree_map(lambda t: (t.shape, t.dtype), (state, fresh))
    assert shapes[0] == shapes[1]


@every_case
def test_objective_is_a_scalar_where_there_is_one(case: Case) -> None:
    params, _, batch, _ = inputs(case, 0)
    objective = case.rule.objective(case.net, params, batch)
    assert objective is None or objective.shape == ()


# Training


def synthetic(net: Network, count: int, name: str) -> Split:
    """Gaussian examples that a fixed linear map labels."""
    stream = Stream(0).at("synthetic")
    x = stream.at(name).normal((count, *net.in_shape))
    teacher = stream.at("teacher").normal((*net.in_shape, net.classes))
    return Split(x, (x @ teacher).argmax(1))


@dataclass(frozen=True)
class Trained:
    """Where a seed stands after training."""

    outcome: Outcome
    aux: Params
    memory: Params


def trainer_for(case: Case, seeds: tuple[int, ...]) -> Trainer:
    """Fifty steps in five epochs."""
    optimizer = case.rule.optimizer or OptimizerSpec(name="adam", lr=1e-3)
    own = case.rule.aux_optimizer
    budget = Budget(
        batch_size=10,
        epochs=5,
        optimizer=optimizer,
        aux_optimizer=optimizer if own == "same" else own,
    )
    splits = Splits(
        train=synthetic(case.net, 104, "train"),
        validation=None,
        test=synthetic(case.net, 20, "test"),
    )
    return Trainer(case.rule, case.net, splits, budget, seeds)


def train(case: Case, seeds: tuple[int, ...]) -> dict[int, Trained]:
    """Every seed after fifty steps."""
    trainer = trainer_for(case, seeds)
    assert trainer.steps_per_epoch * trainer.budget.epochs == 50
    outcomes = trainer.train()
    return {
        seed: Trained(
            outcomes[index],
            {name: tensor[index].clone() for name, tensor in trainer.state.aux.items()},
            {name: tensor[index].clone() for name, tensor in trainer.state.memory.items()},
        )
        for index, seed in enumerate(seeds)
    }


@cache
def seed_3_alone(name: str) -> Trained:
    (case,) = (case for case in DEFAULTS if case.name == name)
    return train(case, (3,))[3]


@every_default
def test_training_a_seed_among_others_is_training_it_alone(case: Case) -> None:
    alone, among = seed_3_alone(case.name), train(case, (0, 1, 3, 7, 12))[3]
    assert alone.outcome.diverged_epoch is among.outcome.diverged_epoch is None
    assert worst(among.outcome.params, alone.outcome.params) <= 1e-10
    assert worst(among.aux, alone.aux) <= 1e-10
    assert worst(among.memory, alone.memory) <= 1e-10
    for metric, curve in alone.outcome.metrics.items():
        found = torch.tensor(among.outcome.metrics[metric], dtype=torch.float64)
        assert rel(found, torch.tensor(curve, dtype=torch.float64)) <= 1e-10


@every_default
def test_training_again_gives_the_same_bits(case: Case) -> None:
    first, second = seed_3_alone(case.name), train(case, (3,))[3]
    assert identical(
        (second.outcome.params, second.aux, second.memory),
        (first.outcome.params, first.aux, first.memory),
    )
    assert second.outcome.metrics == first.outcome.metrics
    assert second.outcome.test_accuracy == first.outcome.test_accuracy


@every_default
def test_training_starts_from_the_seed_whatever_the_rule_and_the_other_seeds(case: Case) -> None:
    alone, among = trainer_for(case, (3,)), trainer_for(case, (0, 3))
    start = case.net.init(Stream(3).at("parameters"))
    assert identical(unstack(alone.params, 0), start)
    assert identical(unstack(among.params, 1), start)
    assert torch.equal(alone.batches(2)[:, 0], among.batches(2)[:, 1])
