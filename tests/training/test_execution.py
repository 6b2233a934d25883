"""How a step runs is no part of its result: grouped, traced or compiled, within rounding.

Every registered rule, on the first small network that it supports, through the harness's
own step. The bound is 1e-12 in float64 and 1e-5 in float32, times the largest condition
number of what the rule inverts, where it does: a layer's weights and slopes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bioplaus.errors import ConfigError
from bioplaus.experiments.experiment import plan
from bioplaus.learning.batching import Rule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.network.network import Network
from bioplaus.plugins import registry
from bioplaus.records.store import Store
from bioplaus.tasks.dataset import Split
from bioplaus.tasks.task import prepare
from bioplaus.training import memory
from bioplaus.training.budget import Budget, budget
from bioplaus.training.execution import Execution
from bioplaus.training.groups import evenly
from bioplaus.training.stepper import Compile, Stepper
from tests.helpers.networks import network_for, random_batch

CPU = torch.device("cpu")
BATCH = 5
BOUNDS = {torch.float64: 1e-12, torch.float32: 1e-5}

every_rule = pytest.mark.parametrize("name", registry.names("rule"))
both = pytest.mark.parametrize("dtype", list(BOUNDS), ids=["fp64", "fp32"])
compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


def rule_and_network(name: str) -> tuple[Rule, Network]:
    """The rule, iterating no more than three times, and a network that it supports."""
    cls: type[Rule] = registry.load("rule", name)
    counts = {k: f.default for k, f in cls.Config.model_fields.items() if f.annotation is int}
    rule = cls.configured({k: 3 for k, default in counts.items() if default > 3})
    return rule, network_for(rule)


def step(name: str, seeds: Sequence[int], dtype: torch.dtype, compile: Compile = "off") -> Stepper:
    """After one step of plain gradient descent, of rate 1: the parameters hold the update."""
    rule, net = rule_and_network(name)
    x = torch.cat([random_batch(net, BATCH, seed).x for seed in range(4)]).to(dtype)
    y = torch.arange(len(x)) % net.classes
    sgd = OptimizerSpec(name="sgd", lr=1.0)
    stepper = Stepper(rule, net, Split(x, y), Budget(BATCH, 1, sgd, sgd), seeds, compile)
    index = torch.stack([torch.arange(BATCH) + BATCH * (seed % 4) for seed in seeds])
    with torch.no_grad():
        stepper.step(index, 0, None)
    return stepper


def replica(stepper: Stepper, index: int) -> dict[str, Tensor]:
    """One seed's updates and state."""
    grads = {f"grad {k}": t.grad[index] for k, t in stepper.params.items()}  # type: ignore[index]
    aux = {f"aux {k}": t.grad[index] for k, t in stepper.state.aux.items()}  # type: ignore[index]
    return grads | aux | {f"memory {k}": t[index] for k, t in stepper.state.memory.items()}


def bound(name: str, dtype: torch.dtype) -> float:
    rule, net = rule_and_network(name)
    if rule.plausibility.weight_transport != "inverse":
        return BOUNDS[dtype]
    weights = (net.layers[l].matrix(net.at(start(name), l)) for l in range(net.depth))
    slopes = 10  # of the leaky units, 1 and 0.1: the condition number of D
    return (
        BOUNDS[dtype] * slopes * max(float(torch.linalg.cond(w)) for w in weights if w is not None)
    )


@cache
def start(name: str) -> dict[str, Tensor]:
    from bioplaus.numerics.random_streams import Stream

    return rule_and_network(name)[1].init(Stream(3).at("parameters"))


def worst(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest difference of any tensor, relative to its size."""
    assert ours.keys() == theirs.keys()
    tiny = 1e-30
    return max(float((ours[k] - theirs[k]).norm() / theirs[k].norm().clamp_min(tiny)) for k in ours)


@both
@every_rule
def test_a_seed_alone_and_among_others(name: str, dtype: torch.dtype) -> None:
    alone, among = step(name, [3], dtype), step(name, [0, 3, 1, 2], dtype)
    assert worst(replica(among, 1), replica(alone, 0)) <= bound(name, dtype)


@every_rule
def test_the_same_step_twice_is_the_same_bits(name: str) -> None:
    first, second = (replica(step(name, [3, 0], torch.float32), 0) for _ in range(2))
    assert all(torch.equal(first[k], second[k]) for k in first)


@compiler
@every_rule
def test_a_compiled_step_is_the_traced_one(name: str) -> None:
    traced = step(name, [3, 0], torch.float32)
    compiled = step(name, [3, 0], torch.float32, "on")
    assert [(p.how, p.why) for p in compiled.programs] == [("compiled", "")]
    assert worst(replica(compiled, 0), replica(traced, 0)) <= bound(name, torch.float32)


@compiler
@pytest.mark.parametrize("name", ["backprop", "gaitprop"])
def test_a_compiled_step_is_the_traced_one_in_double_precision(name: str) -> None:
    traced = step(name, [3, 0], torch.float64)
    compiled = step(name, [3, 0], torch.float64, "on")
    assert worst(replica(compiled, 0), replica(traced, 0)) <= bound(name, torch.float64)


def experiment_and_data(tiny: Path) -> tuple[Any, Split]:
    experiment = plan(["backprop"], str(tiny))[0]
    data = experiment.task.load_data()
    shape = experiment.network.in_shape
    return experiment, prepare(data.train, shape, data.scale, torch.float32, CPU)


@pytest.mark.parametrize(
    ("seeds", "most", "sizes"), [(5, 2, [2, 2, 1]), (4, 4, [4]), (7, 3, [3, 2, 2]), (1, 9, [1])]
)
def test_seeds_are_split_evenly(seeds: int, most: int, sizes: list[int]) -> None:
    found = evenly(range(seeds), most)
    assert [len(group) for group in found] == sizes
    assert [seed for group in found for seed in group] == list(range(seeds))


def test_auto_takes_all_seeds_where_the_memory_is_plenty(tiny: Path) -> None:
    assert memory.fitting(*experiment_and_data(tiny), 40) == 40


def test_auto_takes_as_many_as_the_memory_holds(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for ten of the counted replicas, eight tenths of it to be used: eight together."""
    experiment, train = experiment_and_data(tiny)
    replica = memory.replica_bytes(experiment, train)
    assert replica is not None
    monkeypatch.setattr(memory, "free_memory", lambda device: 10 * replica)
    assert memory.fitting(experiment, train, 24) == 8


def test_one_seed_trains_however_small_the_memory(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 1)
    assert memory.fitting(*experiment_and_data(tiny), 2) == 1


def test_the_counted_peak_holds_the_parameters_four_times_and_the_data(tiny: Path) -> None:
    """Parameters, gradients and Adam's two averages last between steps; a step needs more."""
    experiment, train = experiment_and_data(tiny)
    stepper = Stepper(experiment.rule, experiment.network, train, budget(experiment), [0])
    with torch.no_grad():
        stepper.step(torch.arange(50)[None], 0, None)
    parameters = sum(t.nbytes for t in stepper.params.values())
    lasting = 4 * parameters + train.x.nbytes
    peak = memory.peak_bytes(stepper)
    assert peak is not None
    targets, activities = len(train) * 10 * 4, 50 * (64 + 2 * 6 * 16) * 4
    assert lasting < peak < lasting + targets + parameters + activities + 1000


def test_groups_give_the_records_that_one_group_gives(tiny: Path, tmp_path: Path) -> None:
    from bioplaus.running.run import run_experiments

    runs = []
    for most in (None, 2):
        experiments = plan(["gaitprop"], str(tiny), precision="fp64")
        done = run_experiments(
            experiments,
            range(3),
            Store(tmp_path / str(most)),
            execution=Execution(CPU, "off", most),
        )
        runs.append(done.records)
    for one, other in zip(*runs, strict=True):
        assert (one.key, one.seed) == (other.key, other.seed)
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-10)
        assert one.provenance["seeds_together"] == [0, 1, 2]
    assert [r.provenance["seeds_together"] for r in runs[1]] == [[0, 1], [0, 1], [2]]


def test_tf32_needs_a_gpu(tiny: Path, tmp_path: Path) -> None:
    from bioplaus.running.run import run_experiments

    with pytest.raises(ConfigError, match="tf32"):
        run_experiments(
            plan(["backprop"], str(tiny), precision="tf32"),
            [0],
            Store(tmp_path),
            execution=Execution(CPU),
        )
